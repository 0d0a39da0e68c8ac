"""What LangChain's own ToolNode makes of each way to write a tool. Run as a program, away from the server.

Prints one JSON object: by the tool's name its status and content, or null where ToolNode raises.
"""

import asyncio
import json
import sys
import types
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from tests.agents.ways import WAYS, Way


def tool_of(way: Way) -> BaseTool:
    module = sys.modules[way.name] = types.ModuleType(way.name)
    exec(compile(way.file, way.name, "exec"), module.__dict__)
    found = [
        value
        for value in vars(module).values()
        if (isinstance(value, type) and issubclass(value, BaseTool) and value.__module__ == way.name)
        or isinstance(value, BaseTool)
    ]
    chosen: Any = getattr(module, way.object) if way.object else found[0]
    return chosen() if isinstance(chosen, type) else chosen


async def answer(way: Way) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool_of(way)]))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    call = {"name": way.name, "args": way.arguments, "id": f"call-{way.name}", "type": "tool_call"}
    messages = [HumanMessage("hello"), AIMessage("", tool_calls=[call])]
    # As a server does that runs agents in threads: a coroutine only where there is nothing else.
    try:
        last = graph.compile().invoke({"messages": messages})["messages"][-1]
    except NotImplementedError:
        last = (await graph.compile().ainvoke({"messages": messages}))["messages"][-1]
    return [last.status, last.content]


def main() -> None:
    found: dict[str, Any] = {}
    for way in WAYS:
        try:
            found[way.name] = asyncio.run(answer(way))
        except Exception:  # noqa: BLE001 - a tool may raise anything
            found[way.name] = None
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""The values of the arguments that the server gives to a tool. Runs only in the tool's own process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


def values_for(injected: Mapping[str, str], tool: "BaseTool", context: Mapping[str, Any]) -> dict[str, Any]:
    """By argument: what `arguments.injected` says that it is given. LangChain itself gives the configuration."""
    found: dict[str, Any] = {}
    for name, kind in injected.items():
        match kind.partition("."):
            case ("tool_call_id", _, _):
                found[name] = str(context.get("call_id") or "call")
            case ("state", "", _):
                found[name] = state(context)
            case ("state", _, "messages"):
                found[name] = state(context)["messages"]
            case ("runtime", _, _):
                found[name] = runtime(tool, context)
    return found


def state(context: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the agent that calls: its conversation."""
    from langchain_core.messages import messages_from_dict

    return {"messages": messages_from_dict(context.get("messages", []))}


def runtime(tool: "BaseTool", context: Mapping[str, Any]) -> Any:
    """Without a store and without a stream: what a tool writes there goes nowhere."""
    from langgraph.prebuilt.tool_node import ToolRuntime

    return ToolRuntime(
        state=state(context),
        context=None,
        config=config(context),
        stream_writer=lambda _: None,
        tool_call_id=str(context.get("call_id") or "call"),
        store=None,
        tools=[tool],
    )


def config(context: Mapping[str, Any]) -> Any:
    """A RunnableConfig as LangGraph gives it: the run is the thread."""
    named = {key: context[key] for key in ("agent", "user", "run_id") if context.get(key)}
    return {
        "configurable": {"thread_id": str(context.get("run_id", "")), **named},
        "metadata": {**context.get("metadata", {}), **named},
        "tags": [],
    }

"""The floor: the same LangChain agent with PostgresSaver and its own interrupt, in one bare process.

No server, no queue, no events, no sandbox, no operator: what a cycle costs when nothing but the agent runs.
Run by `bench.approval_cycle` with the address of a database; prints JSON.
"""

import json
import os
import sys
import uuid
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.types import Command

from agents.llm.rehearsal import Rehearsal
from bench.clock_tool import Clock
from bench.processes import own_seconds


def main(address: str, number: int) -> dict[str, Any]:
    with PostgresSaver.from_conn_string(address) as saver:
        saver.setup()
        cycle(saver)  # what is loaded once is not counted
        began = own_seconds()
        for _ in range(number):
            cycle(saver)
        return {"processor_ms": 1000 * (own_seconds() - began) / number}


def cycle(saver: PostgresSaver) -> None:
    """Build, start, pause, approve, resume, run, end: as a server does that keeps nothing in memory."""
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    message: Any = {"messages": [{"role": "user", "content": "bench"}]}
    paused = agent(saver).invoke(message, config, durability="sync")
    assert paused["__interrupt__"]  # noqa: S101 - a floor that did not pause would be none
    resume: Any = Command(resume={"decisions": [{"type": "approve"}]})
    ended = agent(saver).invoke(resume, config, durability="sync")
    assert "told" in ended["messages"][-1].text  # noqa: S101
    saver.delete_thread(config["configurable"]["thread_id"])


def agent(saver: PostgresSaver) -> Any:
    gate: Any = HumanInTheLoopMiddleware(interrupt_on={"clock": {"allowed_decisions": ["approve"]}})
    return create_agent(Rehearsal(), [Clock(port=9)], middleware=[gate], checkpointer=saver)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))

"""Runs that a test carries itself, with no worker and no sweep beside it."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.db import connection

from agents.catalog import agents as agent_catalog
from agents.catalog import tools as tool_catalog
from agents.loop import executor
from agents.models import Agent, Run, Tool
from agents.runs import lifecycle
from hitl import approvals
from hitl.models import ApprovalRequest, Source, Status
from tests.listener import Listener
from tests.live import TOOLS, eventually

REPORTER = (TOOLS / "reporter.py").read_bytes()


def upload(name: str, source: bytes = REPORTER) -> Tool:
    """The reporter, which the model calls by `name`."""
    return tool_catalog.upload(
        source=source.replace(b'"reporter"', f'"{name}"'.encode()),
        file_name="tool.py",
        name=None,
        framework="langchain",
        version="1.0",
        description=None,
        tags=[],
    )


def gated_agent(world: Listener, *names: str, agent_config: dict[str, Any] | None = None, **settings: Any) -> Agent:
    """An agent that calls each of the tools once, in one step; each call waits for a decision."""
    tools = [upload(name) for name in names or ("reporter",)]
    return agent_catalog.create(
        name="agent",
        tools=tools,
        agent_config={"hitl_enabled": True, **(agent_config or {})},
        tool_configs={
            str(tool.pk): {"hitl": {"timeout_seconds": 60}, "listener": world.url, **settings} for tool in tools
        },
    )


def start(agent: Agent, text: str = "", requester: str = "") -> Run:
    text = text or f"say {uuid.uuid4()}"
    return lifecycle.start(str(agent.pk), input=text, chat_history=[], runtime_config={}, requester=requester)


def carry(run: Run) -> threading.Thread:
    """As a worker does that was given the run."""
    thread = threading.Thread(target=executor.execute, args=(run.pk,), daemon=True)
    thread.start()
    return thread


def carried(run: Run) -> Run:
    """Carried as far as it goes."""
    thread = carry(run)
    thread.join(60)
    assert not thread.is_alive()
    return fresh(run)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def requests(run: Run) -> dict[str, ApprovalRequest]:
    """The last round of each call, by the name of its tool."""
    return {r.tool_name: r for r in ApprovalRequest.objects.filter(run_id=run.pk).order_by("round")}


def await_requests(run: Run, number: int = 1) -> dict[str, ApprovalRequest]:
    return eventually(lambda: found if len(found := requests(run)) == number else {})


def decide(request: ApprovalRequest, word: str, by: Any) -> None:
    approvals.decide(request.pk, decision=Status(word), by=by, source=Source.API)


def in_thread(work: Any) -> threading.Thread:
    """`work` in a thread of its own, whose connection nobody else closes."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class BeforeStatement:
    """Does `work` on another connection, to its end, before the statement of this number."""

    def __init__(self, number: int, work: Callable[[], None]) -> None:
        self.left = number
        self.work = work

    def __call__(self, execute: Any, *args: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            thread = in_thread(self.work)
            thread.join(20)
            assert not thread.is_alive()
        return execute(*args)

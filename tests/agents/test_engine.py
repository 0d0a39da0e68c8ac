"""The loop goes on from wherever it was cut off."""

from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from agents.llm.rehearsal import Rehearsal
from agents.loop.engine import AgentParts, StepLimitReached, run_agent


class Killed(BaseException):
    """As good as a kill: whatever comes after the last write does not happen."""


class Cut(InMemorySaver):
    """Ends its process, so to say, with a given write: just before it is kept, or just after."""

    def __init__(self, left: int, *, is_kept: bool) -> None:
        super().__init__()
        self.left = left
        self.is_kept = is_kept

    def _written(self, write: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.is_kept:
            raise Killed
        done = write()
        if self.left == 0:
            raise Killed
        return done

    def put(self, *args: Any) -> Any:
        return self._written(lambda: InMemorySaver.put(self, *args))

    def put_writes(self, *args: Any) -> None:
        self._written(lambda: InMemorySaver.put_writes(self, *args))


class Counter(BaseTool):
    name: str = "counter"
    description: str = "Counts."
    calls: list[str] = []

    def _run(self, text: str) -> str:
        self.calls.append(text)
        return f"counted {text}"


@pytest.mark.parametrize("is_kept", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", range(1, 12))
def test_it_comes_to_the_same_answer_when_it_is_cut_at_any_write(number: int, is_kept: bool) -> None:
    saver, tool, reports = Cut(number, is_kept=is_kept), Counter(calls=[]), list[AIMessage]()

    def go_on(resume: bool) -> Any:
        return run_agent(
            AgentParts(Rehearsal(), [tool], "", AgentMiddleware()),
            messages=[{"role": "user", "content": "three"}],
            checkpointer=saver,
            thread_id="one",
            resume=resume,
            report=reports.append,
        )

    try:
        conversation = go_on(resume=False)
        assert saver.left > 0, "it was not cut"
    except Killed:
        conversation = go_on(resume=True)
    assert [m.text for m in conversation[-1:]] == ["counter: counted three"]
    assert len(conversation) == 4
    # Its result may have been on the way; a gated call has the gate's own record for that.
    assert 1 <= len(tool.calls) <= 2
    assert {m.id for m in conversation if isinstance(m, AIMessage)} <= {m.id for m in reports}


class Looping(Rehearsal):
    """Sees no result, so it calls again."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate([m for m in messages if m.type == "human"], *args, **kwargs)


class ParksOnce(AgentMiddleware[Any, Any]):
    """Parks at each call, and lets it run when it is entered again."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        if request.tool_call["id"] not in self.seen:
            self.seen.add(request.tool_call["id"])
            interrupt("parked")
        return handler(request)


@pytest.mark.parametrize("middleware", [AgentMiddleware(), ParksOnce()], ids=["in one go", "parked at each step"])
def test_an_agent_that_comes_to_no_answer_is_ended(
    monkeypatch: pytest.MonkeyPatch, middleware: AgentMiddleware[Any, Any]
) -> None:
    monkeypatch.setattr("agents.loop.engine.MAX_STEPS", 10)
    saver, tool = InMemorySaver(), Counter(calls=[])

    def go_on(resume: bool = True) -> Any:
        return run_agent(
            AgentParts(Looping(), [tool], "", middleware),
            messages=[{"role": "user", "content": "three"}],
            checkpointer=saver,
            thread_id="one",
            resume=resume,
            report=lambda _: None,
        )

    def to_the_end() -> None:
        go_on(resume=False)
        for _ in range(10):
            go_on()

    with pytest.raises(StepLimitReached):
        to_the_end()
    assert len(tool.calls) == 5

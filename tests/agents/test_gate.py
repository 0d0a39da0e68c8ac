"""The gate can be entered again for the same call, by whoever resumes the run, and does no harm."""

import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolRuntime

from agents.engine import ToolSpec
from agents.gate import Gate
from agents.models import Agent, Run, RunEvent
from agents.sandbox import ToolFailed
from hitl import approvals
from hitl.models import ApprovalRequest, Execution, Source, Status

pytestmark = pytest.mark.django_db(transaction=True)


class Call:
    """One gated call of one run: `enter` it as often as a resumed run would."""

    def __init__(self) -> None:
        agent = Agent.objects.create(name="agent")
        self.run = Run.objects.create(agent=agent, input="go", spec={}, status="running")
        self.spec = ToolSpec(
            id=uuid.uuid4(),
            version_id=uuid.uuid4(),
            digest="0" * 64,
            name="send",
            class_name="Send",
            description="Sends.",
            args_schema={"type": "object"},
            hitl_timeout_seconds=30,
            timeout_seconds=10,
        )
        self.ran: list[dict[str, Any]] = []
        self.namespace = f"tools:{uuid.uuid4()}"

    def enter(self, run_tool: Any = None, **arguments: Any) -> ToolMessage:
        gate = Gate(
            run_id=self.run.pk, agent_id=self.run.agent_id, agent_name="agent", tools={self.spec.name: self.spec}
        )
        config: Any = {"configurable": {"checkpoint_ns": self.namespace}}
        state = {"messages": [HumanMessage("please send")]}
        runtime: Any = ToolRuntime(
            state=state, context=None, config=config, stream_writer=lambda _: None, tool_call_id="call_1", store=None
        )
        tool_call: Any = {"name": "send", "args": arguments or {"to": "jane"}, "id": "call_1", "type": "tool_call"}
        request = ToolCallRequest(tool_call=tool_call, tool=None, state=state, runtime=runtime)
        message = gate.wrap_tool_call(request, run_tool or self._run_tool)
        assert isinstance(message, ToolMessage)
        return message

    def _run_tool(self, request: ToolCallRequest) -> ToolMessage:
        assert connection.connection is None, "a running tool must hold no database connection"
        self.ran.append(request.tool_call["args"])
        return ToolMessage("sent", name="send", tool_call_id="call_1")

    @property
    def request(self) -> ApprovalRequest:
        return ApprovalRequest.objects.get(run_id=self.run.pk)


@pytest.fixture
def call(servers: None) -> Call:
    return Call()


def approve_soon(call: Call, by: User) -> threading.Thread:
    """Approve as an operator does, while the gate waits."""

    def approve() -> None:
        try:
            while not (found := ApprovalRequest.objects.filter(run_id=call.run.pk).first()):
                pass
            approvals.decide(found.pk, decision=Status.APPROVED, by=by, source=Source.API, note="go on")
        finally:
            connection.close()

    thread = threading.Thread(target=approve, daemon=True)
    thread.start()
    return thread


def test_it_waits_runs_once_and_gives_the_same_result_when_entered_again(call: Call, alice: User) -> None:
    thread = approve_soon(call, alice)
    first = call.enter()
    thread.join(10)
    again = call.enter()
    assert call.ran == [{"to": "jane"}]
    assert first.text == again.text
    assert "sent" in first.text
    assert "go on" in first.text
    assert call.request.execution == Execution.FINISHED
    keys = list(RunEvent.objects.filter(run=call.run).values_list("key", flat=True))
    assert keys == [f"pending:{call.request.pk}", f"result:{call.namespace}"]


def test_a_call_that_began_and_has_no_result_is_not_run_again(call: Call, alice: User) -> None:
    def dies(request: ToolCallRequest) -> ToolMessage:
        raise KeyboardInterrupt  # as good as a kill: nothing after the start is recorded

    approve_soon(call, alice)
    with pytest.raises(KeyboardInterrupt):
        call.enter(dies)
    assert call.request.execution == Execution.STARTED
    message = call.enter()
    assert call.ran == []
    assert "outcome is unknown" in message.text


def test_arguments_that_changed_since_the_approval_do_not_run(call: Call, alice: User) -> None:
    approve_soon(call, alice)
    with pytest.raises(KeyboardInterrupt):
        call.enter(lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    ApprovalRequest.objects.filter(pk=call.request.pk).update(execution="none", execution_started_at=None)
    message = call.enter(to="mallory")
    assert call.ran == []
    assert "differs from the one that was approved" in message.text


def test_a_rejected_call_stays_rejected_when_entered_again(call: Call, alice: User) -> None:
    spec = call.spec
    request = approvals.open_request(
        approvals.Call(
            tool_id=spec.id,
            tool_version=spec.digest,
            tool_name=spec.name,
            arguments={"to": "jane"},
            agent_id=call.run.agent_id,
            run_id=call.run.pk,
            checkpoint_ns=call.namespace,
            agent_name="agent",
            tool_call_id="call_1",
        ),
        timeout_seconds=30,
        context={},
    )
    approvals.decide(request.pk, decision=Status.REJECTED, by=alice, source=Source.API, note="too risky")
    assert [call.enter().text, call.enter().text] == [call.enter().text] * 2
    assert "too risky" in call.enter().text
    assert call.ran == []


def test_a_tool_that_fails_is_told_to_the_model_and_recorded_as_failed(call: Call, alice: User) -> None:
    def fails(request: ToolCallRequest) -> ToolMessage:
        raise ToolFailed("the mail server said no")

    approve_soon(call, alice)
    message = call.enter(fails)
    assert (message.status, call.request.execution) == ("error", Execution.FAILED)
    assert "the mail server said no" in message.text


def test_arguments_that_cannot_be_stored_are_cleaned_before_anybody_sees_them(call: Call, alice: User) -> None:
    approve_soon(call, alice)
    call.enter(to="ja\0ne", weight=float("inf"))
    assert call.ran == [call.request.arguments] == [{"to": "ja\ufffdne", "weight": "inf"}]

"""The gate can be entered again for the same call, by whoever resumes the run, and does no harm."""

import hashlib
import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from langchain.agents.middleware import ToolCallRequest
from langchain.tools import ToolRuntime
from langchain_core.messages import HumanMessage, ToolMessage

from agents.catalog import tools as tool_catalog
from agents.catalog.toolspec import ToolSpec
from agents.loop.gate import Gate
from agents.loop.steps import Steps
from agents.loop.token_stream import TokenStream
from agents.loop.tool_calls import Caller
from agents.models import Agent, Run, RunEvent, Tool, ToolVersion
from agents.runs import lifecycle
from agents.runs.attempt import Attempt, Lost
from hitl import approvals, executions
from hitl.models import ApprovalRequest, Execution, Source, Status
from tests.agents.runs import in_thread
from tests.hitl.calls import a_call
from tests.listener import Listener
from tests.live import TOOLS, eventually

pytestmark = pytest.mark.django_db(transaction=True)


SOURCE = (TOOLS / "send.py").read_text()


class Call:
    """One gated call of one run: `enter` it as often as a resumed run would, each time under a new attempt."""

    def __init__(self, world: Listener, **settings: Any) -> None:
        agent = Agent.objects.create(name="agent")
        self.run = Run.objects.create(agent=agent, input="go", spec={"agent_name": "agent"})
        digest = hashlib.sha256(SOURCE.encode()).hexdigest()
        version = ToolVersion.objects.create(
            digest=digest, file_name="t.py", source=SOURCE, class_name="Send", tool_name="send",
            description="Sends.", args_schema={"type": "object"},
        )  # fmt: skip
        self.tool = Tool.objects.create(name="send", current=version)
        self.spec = ToolSpec(
            id=self.tool.pk,
            version_id=version.pk,
            digest=digest,
            name="send",
            class_name="Send",
            description="Sends.",
            args_schema={"type": "object"},
            hitl_timeout_seconds=30,
            timeout_seconds=10,
            fields={"listener": world.url},
            **settings,
        )
        self.world = world
        self._ran_before = len(world.heard)
        self.namespace = f"tools:{uuid.uuid4()}"

    def claim(self) -> Attempt:
        """As a worker does that takes the run over."""
        Run.objects.filter(pk=self.run.pk).update(status="queued", holder="")
        claimed = lifecycle.claim(self.run.pk)
        assert claimed
        return claimed[1]

    def enter(self, attempt: Attempt | None = None, **arguments: Any) -> ToolMessage:
        attempt = attempt or self.claim()
        steps = Steps(attempt, "agent", is_sub_agent=False)
        gate = Gate(Caller(attempt, self.run.agent_id, "agent", steps, {}), [self.spec], TokenStream())
        config: Any = {"configurable": {"checkpoint_ns": self.namespace}}
        state = {"messages": [HumanMessage("please send")]}
        runtime: Any = ToolRuntime(
            state=state, context=None, config=config, stream_writer=lambda _: None, tool_call_id="call_1", store=None
        )
        tool_call: Any = {"name": "send", "args": arguments or {"to": "jane"}, "id": "call_1", "type": "tool_call"}
        request = ToolCallRequest(tool_call=tool_call, tool=None, state=state, runtime=runtime)
        message = gate.wrap_tool_call(request, langchain_must_not_run_it)
        assert isinstance(message, ToolMessage)
        return message

    def begin_and_be_lost(self) -> None:
        """The tool runs, and its worker comes too late with the result: as good as one that died meanwhile."""
        self.world.meanwhile = lambda: in_thread(self.claim).join(10)
        with pytest.raises(Lost):
            self.enter()
        self.world.meanwhile = lambda: None
        assert len(self.ran) == 1
        self._ran_before += 1
        assert self.request.execution == Execution.STARTED

    @property
    def ran(self) -> list[dict[str, Any]]:
        """The arguments of each time that the tool ran, but for those which were lost."""
        return [report["arguments"] for report in self.world.heard[self._ran_before :]]

    @property
    def request(self) -> ApprovalRequest:
        """The last round."""
        return ApprovalRequest.objects.filter(run_id=self.run.pk).latest("round")

    def rounds(self) -> list[ApprovalRequest]:
        return list(ApprovalRequest.objects.filter(run_id=self.run.pk).order_by("round"))


def langchain_must_not_run_it(request: ToolCallRequest) -> ToolMessage:
    raise AssertionError


@pytest.fixture
def call(world: Listener) -> Call:
    return Call(world)


def decide_soon(call: Call, by: User, *words: Status, note: str = "go on") -> threading.Thread:
    """Decide round after round as an operator does, while the gate waits."""

    def decide() -> None:
        try:
            for word in words:
                eventually(lambda: call.request.status == Status.PENDING if call.rounds() else False)
                approvals.decide(call.request.pk, decision=word, by=by, source=Source.API, note=note)
        finally:
            connection.close()

    thread = threading.Thread(target=decide, daemon=True)
    thread.start()
    return thread


def approve_soon(call: Call, by: User) -> threading.Thread:
    return decide_soon(call, by, Status.APPROVED)


def open_of(call: Call) -> ApprovalRequest:
    """The request about the call, as an attempt before opened it."""
    spec = call.spec
    asked = a_call(
        tool_id=spec.id,
        tool_version=spec.digest,
        tool_name=spec.name,
        arguments={"to": "jane"},
        agent_id=call.run.agent_id,
        run_id=call.run.pk,
        checkpoint_ns=call.namespace,
        agent_name="agent",
    )
    return approvals.open_request(asked, timeout_seconds=30, context={})


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
    assert keys == ["begun", f"pending:{call.request.pk}", f"result:{call.namespace}"]


def begin_and_die(call: Call, by: User) -> None:
    approve_soon(call, by)
    call.begin_and_be_lost()


def test_a_call_that_began_and_has_no_result_is_asked_about_again(call: Call, alice: User) -> None:
    begin_and_die(call, alice)
    thread = decide_soon(call, alice, Status.APPROVED)
    message = call.enter()
    thread.join(10)
    first, second = call.rounds()
    assert call.ran == [{"to": "jane"}]
    assert (first.execution, second.execution) == (Execution.UNKNOWN, Execution.FINISHED)
    assert first.execution_started_at is not None
    began = first.execution_started_at.isoformat(timespec="seconds")
    assert second.reason.startswith(f"An earlier attempt began at {began} and its outcome is unknown")
    assert "sent" in message.text
    keys = list(RunEvent.objects.filter(run=call.run).values_list("key", flat=True))
    asked = [f"pending:{first.pk}", f"again:{first.pk}", f"pending:{second.pk}", f"result:{call.namespace}"]
    assert keys == ["begun", *asked]


@pytest.mark.parametrize("word", [Status.REJECTED, Status.SKIPPED])
def test_a_call_of_unknown_outcome_is_not_repeated_without_approval(call: Call, alice: User, word: Status) -> None:
    begin_and_die(call, alice)
    decide_soon(call, alice, word)
    said = call.enter().text
    assert f"{word} this call" in said
    assert_told_that_it_may_have_run(call, said)
    assert call.ran == []


def assert_told_that_it_may_have_run(call: Call, said: str) -> None:
    began = call.rounds()[0].execution_started_at
    assert began
    assert "it did not run." not in said
    assert f"began at {began.isoformat(timespec='seconds')} and its outcome is unknown" in said


def test_a_call_of_unknown_outcome_that_nobody_decides_about_again_is_told_to_be_so(call: Call, alice: User) -> None:
    begin_and_die(call, alice)
    ApprovalRequest.objects.update(timeout_seconds=1)  # the next round has as long
    said = call.enter().text
    assert said.startswith("Nobody decided within 1 seconds")
    assert_told_that_it_may_have_run(call, said)


@pytest.mark.parametrize("decided", [True, False])
def test_a_call_of_unknown_outcome_whose_tool_is_deleted_while_it_waits_again_is_told_to_be_so(
    call: Call, alice: User, decided: bool
) -> None:
    begin_and_die(call, alice)
    attempt = call.claim()

    def delete() -> None:
        eventually(lambda: call.request.status == Status.PENDING)
        if decided:
            with transaction.atomic():
                Tool.objects.update(deleted_at=Now())
                approvals.decide(call.request.pk, decision=Status.APPROVED, by=alice, source=Source.API)
        else:
            tool_catalog.delete(str(call.tool.pk))

    thread = in_thread(delete)
    said = call.enter(attempt).text
    thread.join(10)
    assert_told_that_it_may_have_run(call, said)
    assert call.ran == []


def test_an_idempotent_call_of_unknown_outcome_is_simply_run_again(world: Listener, alice: User) -> None:
    call = Call(world, idempotent=True)
    begin_and_die(call, alice)
    assert "sent" in call.enter().text
    assert call.ran == [{"to": "jane"}]
    assert [r.execution for r in call.rounds()] == [Execution.FINISHED]


def test_arguments_that_changed_since_the_approval_do_not_run_and_are_asked_about(call: Call, alice: User) -> None:
    approvals.decide(open_of(call).pk, decision=Status.APPROVED, by=alice, source=Source.API)
    decide_soon(call, alice, Status.REJECTED)
    message = call.enter(to="mallory")
    assert call.ran == []
    first, second = call.rounds()
    assert (first.execution, second.arguments) == (Execution.NONE, {"to": "mallory"})
    assert 'the argument to was "jane", is "mallory"' in second.reason
    assert "rejected this call of send; it did not run." in message.text
    assert first.seal != second.seal


def test_code_that_changed_since_the_approval_does_not_run_and_is_asked_about(call: Call, alice: User) -> None:
    begin = call.spec.digest[:8]
    approvals.decide(open_of(call).pk, decision=Status.APPROVED, by=alice, source=Source.API)
    ToolVersion.objects.update(source="# something else")
    decide_soon(call, alice, Status.SKIPPED)
    call.enter()
    assert call.ran == []
    assert f"the version of the tool was {begin}, is " in call.request.reason


def test_a_deleted_tool_is_not_asked_about_and_does_not_run(call: Call) -> None:
    Tool.objects.update(deleted_at=Now())
    assert "was deleted" in call.enter().text
    assert (call.ran, call.rounds()) == ([], [])


@pytest.mark.parametrize("decided", [True, False])
def test_a_tool_that_is_deleted_while_its_call_waits_does_not_run(call: Call, alice: User, decided: bool) -> None:
    request = open_of(call)
    if decided:
        approvals.decide(request.pk, decision=Status.APPROVED, by=alice, source=Source.API)
    Tool.objects.update(deleted_at=Now())
    assert "was deleted" in call.enter().text
    assert call.ran == []
    (request,) = call.rounds()
    assert request.status == (Status.APPROVED if decided else Status.CANCELLED)
    assert request.settled_at is not None
    assert RunEvent.objects.filter(key=f"result:{call.namespace}").count() == 1


def test_of_a_call_that_began_before_its_tool_was_deleted_it_is_not_said_that_it_did_not_run(
    call: Call, alice: User
) -> None:
    request = open_of(call)
    approvals.decide(request.pk, decision=Status.APPROVED, by=alice, source=Source.API)
    assert executions.claim_execution(request.pk)
    Tool.objects.update(deleted_at=Now())
    said = call.enter().text
    assert said.startswith("An earlier attempt of this call began at 20")
    assert "its outcome is unknown" in said
    (request,) = call.rounds()
    assert (call.ran, request.execution) == ([], Execution.UNKNOWN)


class DeletedBefore:
    """Deletes the call's tool on another connection just before a statement of the gate that begins so."""

    def __init__(self, call: Call, beginning: str) -> None:
        self.call = call
        self.beginning = beginning
        self.deleting: threading.Thread | None = None
        self.was_answered = False

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if self.deleting is None and sql.startswith(self.beginning):
            self.deleting = in_thread(lambda: tool_catalog.delete(str(self.call.tool.pk)))
            self.deleting.join(1)
            self.was_answered = not self.deleting.is_alive()
        return execute(sql, *args)

    def has_ended(self) -> bool:
        assert self.deleting is not None
        self.deleting.join(10)
        return not self.deleting.is_alive()


def test_nothing_is_asked_about_a_tool_that_is_deleted_at_that_moment(call: Call) -> None:
    deleted = DeletedBefore(call, 'INSERT INTO "hitl_approvalrequest"')
    with connection.execute_wrapper(deleted):
        assert "was deleted" in call.enter().text
    assert deleted.has_ended()
    assert [r.status for r in call.rounds()] == [Status.CANCELLED]


def test_nothing_is_asked_again_about_a_tool_that_is_deleted_at_that_moment(call: Call, alice: User) -> None:
    begin_and_die(call, alice)
    deleted = DeletedBefore(call, 'INSERT INTO "hitl_approvalrequest"')
    with connection.execute_wrapper(deleted):
        assert "The tool was deleted since" in call.enter().text
    assert deleted.has_ended()
    assert [r.status for r in call.rounds()] == [Status.APPROVED, Status.CANCELLED]


def test_no_call_begins_once_the_deletion_of_its_tool_was_answered(call: Call, alice: User) -> None:
    approvals.decide(open_of(call).pk, decision=Status.APPROVED, by=alice, source=Source.API)
    deleted = DeletedBefore(call, 'UPDATE "hitl_approvalrequest" SET "execution" = ')
    with connection.execute_wrapper(deleted):
        call.enter()
    assert deleted.has_ended()
    assert not deleted.was_answered or call.ran == []
    assert call.request.execution == Execution.FINISHED


def test_what_ran_before_its_tool_was_deleted_is_told_as_it_was(call: Call, alice: User) -> None:
    approve_soon(call, alice)
    first = call.enter()
    Tool.objects.update(deleted_at=Now())
    again = call.enter()
    assert (again.text, again.status) == (first.text, first.status)
    assert len(call.ran) == 1


def test_a_worker_that_lost_the_run_starts_nothing_and_writes_nothing(call: Call, alice: User) -> None:
    old = call.claim()
    approvals.decide(open_of(call).pk, decision=Status.APPROVED, by=alice, source=Source.API)
    call.claim()
    before = list(RunEvent.objects.values_list("key", flat=True))
    with pytest.raises(Lost):
        call.enter(attempt=old)
    assert call.ran == []
    assert call.request.execution == Execution.NONE
    assert list(RunEvent.objects.values_list("key", flat=True)) == before


def test_a_result_that_comes_after_the_run_was_lost_is_not_recorded(call: Call, alice: User) -> None:
    begin_and_die(call, alice)
    assert (call.request.execution, call.request.output) == (Execution.STARTED, None)


def test_a_running_tool_holds_no_database_connection(call: Call, alice: User) -> None:
    def all_are_back() -> bool:
        stats = connection.pool.get_stats()
        return stats["pool_available"] == stats["pool_size"]

    seen: list[bool] = []
    # The one that decides may still be on its way out.
    call.world.meanwhile = lambda: seen.append(eventually(all_are_back, 2))
    approve_soon(call, alice)
    call.enter()
    call.world.meanwhile = lambda: None
    assert seen == [True]


def test_a_cancelled_run_ends_the_wait_at_once(call: Call) -> None:
    attempt = call.claim()

    def cancel() -> None:
        try:
            eventually(lambda: call.rounds() != [])
            lifecycle.cancel(call.run.pk, by="alice")
        finally:
            connection.close()

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    with pytest.raises(Lost):
        call.enter(attempt=attempt)
    thread.join(10)
    assert (call.request.status, call.ran) == (Status.CANCELLED, [])


def test_a_rejected_call_stays_rejected_when_entered_again(call: Call, alice: User) -> None:
    request = open_of(call)
    approvals.decide(request.pk, decision=Status.REJECTED, by=alice, source=Source.API, note="too risky")
    assert [call.enter().text, call.enter().text] == [call.enter().text] * 2
    assert "too risky" in call.enter().text
    assert call.ran == []


def test_a_tool_that_fails_is_told_to_the_model_and_recorded_as_failed(call: Call, alice: User) -> None:
    approve_soon(call, alice)
    message = call.enter(to="nobody")
    assert (message.status, call.request.execution) == ("error", Execution.FAILED)
    assert "the mail server said no" in message.text


def test_arguments_that_cannot_be_stored_are_cleaned_before_anybody_sees_them(call: Call, alice: User) -> None:
    approve_soon(call, alice)
    call.enter(to="ja\0ne", weight=float("inf"))
    assert call.ran == [call.request.arguments] == [{"to": "ja\ufffdne", "weight": "inf"}]

"""The verbs of an approval request, and the moves that the database allows."""

import itertools
import time
import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from aip.core.jsonb import canonical, storable
from hitl import approvals, doorbell, executions
from hitl.exceptions import AlreadyClosed, UnknownRequest
from hitl.models import ENDED, ApprovalRequest, Decision, Execution, Source, Status
from hitl.seal import seal
from tests.hitl.calls import a_call, open_one

pytestmark = pytest.mark.django_db


def approve(request: ApprovalRequest, by: User, **more: Any) -> Decision:
    return approvals.decide(request.pk, decision=Status.APPROVED, by=by, source=Source.API, **more)


def test_it_records_who_decided_what_when_and_from_where(alice: User) -> None:
    request = open_one()
    approve(request, alice, note="Looks good", client_run_id="tracker")
    decision = Decision.objects.get(request=request)
    request.refresh_from_db()
    assert (decision.decided_by, decision.decided_by_name, decision.source) == (alice, "alice", "api")
    assert (decision.operator_input, decision.client_run_id) == ("Looks good", "tracker")
    assert decision.seal == request.seal
    assert request.closed_at is not None


def test_it_refuses_a_second_decision_and_says_who_was_faster(alice: User, bob: User) -> None:
    request = open_one()
    approve(request, alice)
    with pytest.raises(AlreadyClosed, match="already approved by alice at 20"):
        approvals.decide(request.pk, decision=Status.REJECTED, by=bob, source=Source.API)
    assert Decision.objects.get().decided_by == alice


def test_it_refuses_a_decision_after_the_deadline_even_before_the_sweep_has_come(alice: User) -> None:
    request = open_one(timeout_seconds=0.01)
    time.sleep(0.02)
    with pytest.raises(AlreadyClosed, match="ran out of time"):
        approve(request, alice)
    assert not Decision.objects.exists()
    assert request not in approvals.pending()


def test_it_knows_no_request_of_a_strange_id(alice: User) -> None:
    with pytest.raises(UnknownRequest):
        approvals.decide(uuid.uuid4(), decision=Status.APPROVED, by=alice, source=Source.API)


@pytest.mark.parametrize("word", [Status.PENDING, Status.TIMEOUT_SKIP, Status.CANCELLED])
def test_a_person_cannot_decide_with_the_servers_own_words(alice: User, word: Status) -> None:
    request = open_one()
    with pytest.raises(ValueError, match="not a person's decision"):
        approvals.decide(request.pk, decision=word, by=alice, source=Source.API)


def test_the_sweep_closes_what_is_overdue_and_nothing_else() -> None:
    overdue, on_time = open_one(timeout_seconds=0.01), open_one()
    time.sleep(0.02)
    assert approvals.time_out_overdue() == 1
    assert Decision.objects.get().operator_input == "TIMEOUT"
    overdue.refresh_from_db()
    on_time.refresh_from_db()
    assert (overdue.status, on_time.status) == (Status.TIMEOUT_SKIP, Status.PENDING)
    assert not approvals.time_out(on_time.pk)


def test_thousands_of_deadlines_that_pass_at_once_are_kept_at_once() -> None:
    rows = [
        ApprovalRequest(
            **asdict(a_call()), timeout_seconds=60, created_at=Now() - timedelta(seconds=61), timeout_at=Now()
        )
        for _ in range(3000)
    ]
    ApprovalRequest.objects.bulk_create(rows)
    with CaptureQueriesContext(connection) as queries:
        assert approvals.time_out_overdue() == 3000
    assert len(queries) == 3  # read and lock, close, record the decisions
    assert Decision.objects.filter(decision=Status.TIMEOUT_SKIP, source=Source.TIMEOUT).count() == 3000
    assert not ApprovalRequest.objects.exclude(status=Status.TIMEOUT_SKIP).exists()


def test_a_call_met_again_finds_its_request() -> None:
    call = a_call()
    first = approvals.open_request(call, timeout_seconds=60, context={})
    again = approvals.open_request(call, timeout_seconds=60, context={})
    assert (first.pk, first.timeout_at) == (again.pk, again.timeout_at)


def test_the_deadline_is_the_creation_plus_the_timeout() -> None:
    request = open_one(timeout_seconds=180)
    assert (request.timeout_at - request.created_at).total_seconds() == 180


def test_a_refused_call_cannot_be_claimed(alice: User) -> None:
    request = open_one()
    approvals.decide(request.pk, decision=Status.REJECTED, by=alice, source=Source.API)
    assert not executions.claim_execution(request.pk)


def test_an_execution_ends_once(alice: User) -> None:
    request = open_one()
    approve(request, alice)
    assert not executions.end_execution(request.pk, execution=Execution.FINISHED, output="too early")
    assert executions.claim_execution(request.pk)
    assert executions.end_execution(request.pk, execution=Execution.FINISHED, output="sent")
    assert not executions.end_execution(request.pk, execution=Execution.FAILED, output="again")
    request.refresh_from_db()
    assert request.output == "sent"


def closed_as(status: Status, by: User) -> ApprovalRequest:
    """A request that stands at `status`, brought there by the verbs where there is one."""
    if status in approvals.DECIDABLE:
        request = open_one()
        approvals.decide(request.pk, decision=status, by=by, source=Source.API)
    elif status == Status.TIMEOUT_SKIP:
        request = open_one(timeout_seconds=0.001)
        time.sleep(0.002)
        approvals.time_out(request.pk)
    else:
        request = open_one()
        if status == Status.CANCELLED:
            ApprovalRequest.objects.filter(pk=request.pk).update(status=status, closed_at=Now())
    return request


MOVES = {status: set(Status) - {Status.PENDING} if status == Status.PENDING else set() for status in Status}
EXECUTION_MOVES = {
    Execution.NONE: {Execution.STARTED},
    Execution.STARTED: {
        Execution.STARTED,
        Execution.FINISHED,
        Execution.FAILED,
        Execution.NOT_RUN,
        Execution.UNKNOWN,
    },
    Execution.FINISHED: set(),
    Execution.FAILED: set(),
    Execution.NOT_RUN: set(),
    Execution.UNKNOWN: set(),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, approvals.DECIDABLE)))
def test_a_decision_makes_exactly_the_moves_of_the_table(alice: User, before: Status, after: Status) -> None:
    request = closed_as(before, alice)
    allowed = after in MOVES[before]
    try:
        approvals.decide(request.pk, decision=after, by=alice, source=Source.API)
        moved = True
    except AlreadyClosed:
        moved = False
    request.refresh_from_db()
    assert (moved, request.status) == (allowed, after if allowed else before)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Execution, ENDED)))
def test_an_execution_makes_exactly_the_moves_of_the_table(alice: User, before: Execution, after: Execution) -> None:
    request = open_one()
    approve(request, alice)
    if before != Execution.NONE:
        output = "it" if before in ENDED else None
        ApprovalRequest.objects.filter(pk=request.pk).update(
            execution=before, execution_started_at=Now(), output=output
        )
    assert executions.end_execution(request.pk, execution=after, output="x") == (after in EXECUTION_MOVES[before])


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "approved"},
        {"closed_at": Now()},
        {"execution": "started", "execution_started_at": Now()},
        {"output": "from nowhere"},
        {"status": "elsewhere", "closed_at": Now()},
    ],
    ids=str,
)
def test_the_database_refuses_a_row_that_cannot_be(wrong: dict[str, Any]) -> None:
    request = open_one()
    with pytest.raises(IntegrityError), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(**wrong)


# As the tree before the second version computed it.
FIRST_SEAL = "9d247239f735313f083d03dbdfe0694606e397f0aaaf72208605d469444d6b18"


def test_every_part_of_a_call_is_under_its_seal() -> None:
    call = a_call()
    changes: dict[str, Any] = {
        "tool_id": uuid.uuid4(),
        "tool_version": "1" * 64,
        "tool_name": "other",
        "arguments": {"to": "mallory@example.com", "text": "Welcome"},
        "agent_id": uuid.uuid4(),
        "run_id": uuid.uuid4(),
        "checkpoint_ns": "tools:other",
        "default_arguments": {"copies": 2},
        "settings": {"sender": {"value": "mallory@example.com", "set_by": "run"}},
        "packages": "2" * 64,
    }
    same = {name: getattr(call, name) for name in changes}
    assert seal(version=2, **same) == call.seal
    seals = {seal(version=2, **same | {name: value}) for name, value in changes.items()}
    assert len(seals | {call.seal}) == len(changes) + 1


def test_a_seal_of_the_first_version_stays_what_it_was() -> None:
    fixed = uuid.UUID(int=1)
    call = a_call(tool_id=fixed, agent_id=fixed, run_id=fixed, checkpoint_ns="tools:x", seal_version=1)
    assert call.seal == FIRST_SEAL
    assert (
        a_call(**{**vars(call), "settings": {"x": {"value": 1, "set_by": "run"}}, "packages": "2"}).seal == FIRST_SEAL
    )


def test_equal_arguments_have_one_spelling() -> None:
    assert canonical({"b": 1, "a": [True, None, "ü"]}) == canonical({"a": [True, None, "ü"], "b": 1})


def test_what_postgresql_cannot_hold_is_replaced_before_it_is_sealed() -> None:
    hostile = {"n\0": "a\0b", "s": "\ud800", "x": [float("nan"), float("inf"), 1.5, True, None]}
    assert storable(hostile) == {"n\ufffd": "a\ufffdb", "s": "\ufffd", "x": ["nan", "inf", 1.5, True, None]}


def test_the_bell_rings_for_who_comes_a_moment_late(servers: None) -> None:
    request_id = uuid.uuid4()
    doorbell.wake(request_id)
    began = time.monotonic()
    doorbell.wait(request_id, doorbell.SLICE_SECONDS)
    assert time.monotonic() - began < doorbell.SLICE_SECONDS / 2

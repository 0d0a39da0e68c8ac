"""What happens between somebody's look and their write: each lock, held by another at that moment."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now

from agents.loop import checkpoints
from agents.models import RunStatus
from agents.runs import lifecycle
from agents.runs.attempt import Attempt, Lost
from hitl import approvals, executions
from hitl.exceptions import AlreadyClosed
from hitl.models import ApprovalRequest, Decision, Execution, Source, Status
from tests.hitl.calls import a_call, open_one
from tests.live import eventually
from tests.test_leases import a_run, fresh, started

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def beside(work: Callable[[], Any], table: str) -> "Future[Any]":
    """`work` in another thread, which by now waits for a lock on a row of `table` that we hold."""
    executor = ThreadPoolExecutor(1)

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    begun = executor.submit(run)
    executor.shutdown(wait=False)
    eventually(lambda: somebody_waits(table))
    return begun


def somebody_waits(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same all along otherwise
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ %s"
        cursor.execute(sql, [table])
        return cursor.fetchone() is not None


def decide(request: ApprovalRequest, by: User, word: Status = Status.APPROVED) -> Decision:
    return approvals.decide(request.pk, decision=word, by=by, source=Source.API)


def test_a_second_decision_that_waits_for_the_first_comes_too_late(alice: User, bob: User) -> None:
    request = open_one()
    with transaction.atomic():
        decide(request, alice)
        second = beside(lambda: decide(request, bob, Status.REJECTED), "hitl_approvalrequest")
    with pytest.raises(AlreadyClosed, match="already approved by alice"):
        second.result(20)


def test_a_deadline_that_passes_while_a_decision_is_written_closes_nothing(alice: User) -> None:
    request = open_one(timeout_seconds=2)
    with transaction.atomic():
        decide(request, alice)
        time.sleep(2.1)
        late = beside(lambda: approvals.time_out(request.pk), "hitl_approvalrequest")
    assert late.result(20) is False


@pytest.mark.parametrize("end", ["limit", "cancel"])
def test_a_run_that_ends_while_a_decision_is_written_leaves_the_decision(alice: User, end: str) -> None:
    run = a_run(RunStatus.WAITING, deadline_at=Now())
    request = open_one(run_id=run.pk)
    work = {"limit": lifecycle.end_overdue, "cancel": lambda: lifecycle.cancel(run.pk, by="bob")}[end]
    with transaction.atomic():
        decide(request, alice)
        ending = beside(work, "hitl_approvalrequest")
    ending.result(20)
    request.refresh_from_db()
    assert (request.status, Decision.objects.get().decision) == (Status.APPROVED, Status.APPROVED)
    assert fresh(run).status in (RunStatus.FAILED, RunStatus.CANCELLED)


def test_of_two_who_cancel_the_second_comes_too_late() -> None:
    run = a_run(RunStatus.WAITING)
    with transaction.atomic():
        lifecycle.cancel(run.pk, by="alice")
        second = beside(lambda: lifecycle.cancel(run.pk, by="bob"), "agents_run")
    with pytest.raises(lifecycle.AlreadyEnded):
        second.result(20)


def saver_of(run_id: Any) -> checkpoints.Saver:
    return checkpoints.Saver(Attempt(run_id, 1))


@pytest.mark.parametrize("status", [status for status in RunStatus if status != RunStatus.RUNNING])
def test_a_run_that_is_not_carried_any_more_gets_no_checkpoint(status: RunStatus) -> None:
    run = a_run(status, attempt=1)
    config: Any = {"configurable": {"thread_id": str(run.pk), "checkpoint_ns": "", "checkpoint_id": "1"}}
    with pytest.raises(Lost):
        saver_of(run.pk).put_writes(config, [("messages", "x")], "task")


def test_the_fence_of_the_checkpoints_is_a_lock() -> None:
    run = a_run(RunStatus.RUNNING)
    with saver_of(run.pk)._cursor(pipeline=True):
        cancelling = beside(lambda: lifecycle.cancel(run.pk, by="alice"), "agents_run")
        assert fresh(run).status == RunStatus.RUNNING
    cancelling.result(20)
    assert fresh(run).status == RunStatus.CANCELLED


def test_a_call_met_again_finds_its_last_round() -> None:
    request = started()
    call = a_call(run_id=request.run_id, checkpoint_ns=request.checkpoint_ns)
    second = approvals.ask_again(request, call, "why")
    assert approvals.open_request(call, timeout_seconds=60, context={}).pk == second.pk


def test_a_call_that_has_ended_is_not_repeated() -> None:
    request = started()
    executions.end_execution(request.pk, execution=Execution.FINISHED, output="done")
    assert not executions.claim_repetition(request)


def test_a_deadline_that_was_met_is_not_met_again(alice: User) -> None:
    request = open_one(timeout_seconds=2)
    decide(request, alice, Status.SKIPPED)
    eventually(lambda: ApprovalRequest.objects.filter(timeout_at__lt=Now()).exists())
    assert not approvals.time_out(request.pk)
    assert approvals.time_out_overdue() == 0

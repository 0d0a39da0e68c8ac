"""What happens between somebody's look and their write: each lock, held by another at that moment."""

import inspect
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.errors import ReadOnlySqlTransaction

from agents.loop import checkpoints
from agents.models import Run, RunStatus
from agents.runs import checkpoint_tables, lifecycle
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


# Every method of LangGraph's saver that uses the database and writes, with what a lost attempt gets for it.
WRITES: dict[str, tuple[type[Exception], Callable[[checkpoints.Saver, Any], Any]]] = {
    "put": (Lost, lambda saver, config: saver.put(config, empty_checkpoint(), {}, {})),
    "put_writes": (Lost, lambda saver, config: saver.put_writes(config, [("messages", "y")], "another")),
    "delete_thread": (Lost, lambda saver, config: saver.delete_thread(thread_of(config))),
    # Nothing here calls them. They ask for no fence, or are not there yet.
    "prune": (ReadOnlySqlTransaction, lambda saver, config: saver.prune([thread_of(config)])),
    "delete_for_runs": (NotImplementedError, lambda saver, config: saver.delete_for_runs([thread_of(config)])),
    "copy_thread": (NotImplementedError, lambda saver, config: saver.copy_thread(thread_of(config), "another")),
}
READS = {"get", "get_tuple", "list", "get_delta_channel_history"}
# `setup` is called by `make_tables` alone, on a connection of its own.
OTHERS = {"setup", "from_conn_string", "with_allowlist", "get_next_version"}


def thread_of(config: Any) -> str:
    return str(config["configurable"]["thread_id"])


def is_public_method(name: str) -> bool:
    """But for those of asyncio, which the saver has not got."""
    if name.startswith("_"):
        return False
    member = getattr(PostgresSaver, name)
    is_async = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
    return callable(member) and not is_async


def test_each_method_of_langgraphs_saver_is_known_here() -> None:
    assert set(filter(is_public_method, dir(PostgresSaver))) == WRITES.keys() | READS | OTHERS


def kept(run_id: Any) -> list[Any]:
    rows = []
    with connection.cursor() as cursor:
        for table in checkpoint_tables.TABLES:
            cursor.execute(f"SELECT * FROM {table} WHERE thread_id = %s", [str(run_id)])
            rows.append(cursor.fetchall())
    return rows


@pytest.mark.parametrize("name", WRITES)
def test_no_method_of_langgraphs_saver_writes_for_an_attempt_that_lost_its_run(name: str) -> None:
    run = a_run(RunStatus.RUNNING)
    saver = saver_of(run.pk)
    config: Any = {"configurable": {"thread_id": str(run.pk), "checkpoint_ns": ""}}
    for _ in range(2):
        config = saver.put(config, empty_checkpoint(), {}, {})
        saver.put_writes(config, [("messages", "x")], "task")
    before = kept(run.pk)
    assert [len(rows) for rows in before] == [2, 0, 2]
    Run.objects.filter(pk=run.pk).update(attempt=2)
    raised, write = WRITES[name]
    with pytest.raises(raised):
        write(saver, config)
    assert kept(run.pk) == before


def test_outside_the_fence_a_saver_cannot_write_even_where_it_has_written() -> None:
    """So that a release of LangGraph that writes without asking for a pipeline is found out."""
    run = a_run(RunStatus.RUNNING)
    saver = saver_of(run.pk)
    with saver._cursor(pipeline=True) as cursor:
        written = cursor.connection
    with ExitStack() as taken:
        # The pool may have others as well, of tests before.
        cursors = (taken.enter_context(saver_of(run.pk)._cursor()) for _ in range(settings.CHECKPOINT_POOL_SIZE))
        cursor = next(each for each in cursors if each.connection is written)
        with pytest.raises(ReadOnlySqlTransaction):
            cursor.execute("DELETE FROM checkpoints")
        with pytest.raises(ReadOnlySqlTransaction), written.transaction():
            cursor.execute("DELETE FROM checkpoints")


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

"""Who holds a run: every move of a run and of its calls, at once by many, and by those who lost it."""

import threading
import time
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from agents.loop import checkpoints
from agents.management.commands.sweep import Leases
from agents.models import ENDED, Agent, Heartbeat, Run, RunEvent, RunStatus
from agents.runs import events, heartbeats, lifecycle, requeue
from agents.runs.attempt import Attempt, Lost, executing
from agents.runs.worker import HeldRuns
from hitl import approvals, executions
from hitl.exceptions import AlreadyClosed
from hitl.models import ApprovalRequest, Decision, Execution, Source, Status
from tests.conftest import in_threads
from tests.hitl.calls import a_call, open_one

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


FAR = Now() + timedelta(hours=1)


def a_run(status: RunStatus = RunStatus.QUEUED, **fields: Any) -> Run:
    if status == RunStatus.RUNNING:
        fields = {"holder": heartbeats.name(), "attempt": 1, "started_at": Now()} | fields
    if status in ENDED:
        fields["completed_at"] = Now()
    agent = Agent.objects.create(name="agent")
    return Run.objects.create(agent=agent, input="go", spec={"agent_name": "agent"}, status=status, **fields)


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def at_once(number: int, work: Any) -> list[Any]:
    """How often `work` succeeded, in threads that give their connections back."""

    def one(i: int) -> Any:
        try:
            return work(i)
        except (Lost, lifecycle.AlreadyEnded, AlreadyClosed):
            return False
        finally:
            connection.close()

    return in_threads(number, one)


def end(attempt: Attempt) -> bool:
    lifecycle.succeed(attempt, events.answered(attempt.run_id, "done", {}), {})
    return True


def cancel(run: Run) -> bool:
    lifecycle.cancel(run.pk, by="alice")
    return True


def park(attempt: Attempt) -> bool:
    lifecycle.park(attempt)
    return True


def move(run: Run, to: RunStatus) -> bool:
    """Whether a run comes to stand there by the verb that leads there."""
    attempt = Attempt(run.pk, run.attempt)
    try:
        match to:
            case RunStatus.QUEUED:
                lifecycle.release(run.pk, run.attempt)
                requeue.unpark(run.pk)
            case RunStatus.RUNNING:
                lifecycle.claim(run.pk)
            case RunStatus.WAITING:
                park(attempt)
            case RunStatus.SUCCEEDED:
                end(attempt)
            case RunStatus.FAILED:
                Run.objects.filter(pk=run.pk).update(deadline_at=Now())
                lifecycle.end_overdue()
            case RunStatus.CANCELLED:
                cancel(run)
    except (Lost, lifecycle.AlreadyEnded):
        pass
    return fresh(run).status == to and run.status != to


MOVES = {
    RunStatus.QUEUED: {RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED},
    # Back to the queue when its holder's lease has expired.
    RunStatus.RUNNING: {RunStatus.QUEUED, RunStatus.WAITING, *ENDED},
    # Queued only by the doctor, where it waits for nothing.
    RunStatus.WAITING: {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED},
    RunStatus.SUCCEEDED: set(),
    RunStatus.FAILED: set(),
    RunStatus.CANCELLED: set(),
}


@pytest.mark.parametrize("after", RunStatus)
@pytest.mark.parametrize("before", RunStatus)
def test_a_run_moves_as_the_table_says_and_not_otherwise(before: RunStatus, after: RunStatus, alice: User) -> None:
    run = a_run(before)
    if before == RunStatus.WAITING and after != RunStatus.QUEUED:  # it has news, or waits for nothing
        approvals.decide(open_one(run_id=run.pk).pk, decision=Status.SKIPPED, by=alice, source=Source.API)
    assert move(run, after) == (after in MOVES[before])


def test_of_many_ends_of_a_run_one_counts() -> None:
    for _ in range(5):
        run = a_run(RunStatus.RUNNING, deadline_at=Now())
        attempt = Attempt(run.pk, 1)
        work = [partial(end, attempt), partial(cancel, run), lambda: lifecycle.end_overdue() and False]
        won = at_once(9, lambda i, work=work: work[i % 3]())
        assert sum(won) <= 1
        run = fresh(run)
        ends = RunEvent.objects.filter(run=run, payload__is_final=True)
        assert (run.status in ENDED, ends.count()) == (True, 1)
        assert sum(won) == (run.status != RunStatus.FAILED)


def test_a_decision_and_a_cancellation_of_the_run_cannot_both_win(alice: User) -> None:
    for _ in range(10):
        run = a_run(RunStatus.WAITING)
        request = open_one(run_id=run.pk)

        def one(i: int, run: Run = run, request: ApprovalRequest = request) -> Any:
            if i == 0:
                return cancel(run) and None
            return bool(approvals.decide(request.pk, decision=Status.APPROVED, by=alice, source=Source.API))

        won = sum(1 for done in at_once(4, one) if done)
        request.refresh_from_db()
        assert (request.status == Status.APPROVED) == (won == 1) == Decision.objects.filter(request=request).exists()
        assert request.settled_at is not None or request.status == Status.APPROVED


def test_who_lost_the_run_can_write_nothing() -> None:
    run = a_run(RunStatus.RUNNING, attempt=2)
    old = Attempt(run.pk, 1)
    saver = checkpoints.Saver(old)
    config: Any = {"configurable": {"thread_id": str(run.pk), "checkpoint_ns": "", "checkpoint_id": "1"}}
    with pytest.raises(Lost):
        saver.put_writes(config, [("messages", "x")], "task")
    with pytest.raises(Lost):
        saver.put(config, {"id": "1", "channel_values": {}}, {}, {})  # type: ignore[typeddict-item]
    for write in (end, park):
        with pytest.raises(Lost):
            write(old)
    with pytest.raises(Lost), old.writing():
        pass
    with pytest.raises(Lost), old.starting():
        pass
    lifecycle.release(run.pk, 1)
    assert (fresh(run).status, fresh(run).attempt) == (RunStatus.RUNNING, 2)
    with connection.cursor() as cursor:
        for table in ("checkpoints", "checkpoint_writes"):
            cursor.execute(f"SELECT 1 FROM {table} WHERE thread_id = %s", [str(run.pk)])
            assert cursor.fetchall() == []
    assert old.lost


def test_who_holds_the_run_keeps_others_from_it_while_it_writes() -> None:
    """The fence is a lock: between the look and the write nobody takes the run away, and the sweep does not wait."""
    run = a_run(RunStatus.RUNNING, holder="a dead one", deadline_at=Now() + timedelta(seconds=0.5))
    looks = [requeue.release_expired, lifecycle.end_overdue]
    with Attempt(run.pk, 1).writing():
        time.sleep(0.6)
        assert at_once(2, lambda i: looks[i]()) == [0, 0]
    assert requeue.release_expired() == 1
    assert lifecycle.end_overdue() == 1


def test_past_its_own_limit_a_run_is_not_taken_and_nothing_of_it_is_written_or_started() -> None:
    """Also while no sweep is there to end it."""
    run = a_run(RunStatus.RUNNING, deadline_at=Now())
    attempt = Attempt(run.pk, 1)
    for fenced in (attempt.writing, attempt.starting):
        with pytest.raises(Lost), fenced():
            pass
    assert lifecycle.claim(a_run(RunStatus.QUEUED, deadline_at=Now()).pk) is None


def test_hundreds_of_runs_that_reach_their_limit_together_are_ended_with_few_statements() -> None:
    agent = Agent.objects.create(name="agent")
    spec = {"agent_name": "agent", "timeout_seconds": 9}
    ended = [Run(agent=agent, input="go", spec=spec, status=RunStatus.WAITING, deadline_at=Now()) for _ in range(200)]
    Run.objects.bulk_create(ended)
    ApprovalRequest.objects.bulk_create(
        ApprovalRequest(**asdict(a_call(run_id=run.pk)), timeout_seconds=60, created_at=Now(), timeout_at=FAR)
        for run in ended
    )
    with CaptureQueriesContext(connection) as queries:
        assert lifecycle.end_overdue() == 200
    assert len(queries) < 200 + 15  # each has its last event
    assert Run.objects.filter(status=RunStatus.FAILED).count() == 200
    assert Decision.objects.filter(operator_input="TIMEOUT of the run").count() == 200
    (said,) = set(RunEvent.objects.values_list("payload__content", flat=True))
    assert said == "The run took longer than its limit of 9 s, waiting included, and was ended."


def test_a_process_that_stands_still_within_a_transaction_is_cut_off_with_its_lease(settings: Any) -> None:
    with connection.cursor() as cursor, checkpoints._pool().connection() as other:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        theirs = other.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert cursor.fetchone() == (f"{settings.LEASE_SECONDS}s",)
    assert theirs == {"idle_in_transaction_session_timeout": f"{settings.LEASE_SECONDS}s"}


@pytest.mark.parametrize(("age", "is_lost"), [(0, False), (10, False), (16, True), (None, True)])
def test_a_run_is_lost_when_its_holder_has_not_beaten_for_the_lease(age: int | None, is_lost: bool) -> None:
    if age is not None:
        Heartbeat.objects.create(kind="worker", name="a worker", beat_at=Now() - timedelta(seconds=age))
    run = a_run(RunStatus.RUNNING, holder="a worker")
    assert requeue.release_expired() == is_lost
    assert fresh(run).status == (RunStatus.QUEUED if is_lost else RunStatus.RUNNING)
    assert requeue.requeue_lost() == is_lost


def test_a_sweep_that_has_just_started_gives_the_holders_time_to_beat(settings: Any) -> None:
    """The database may have come back at the same moment as the sweep."""
    settings.LEASE_SECONDS = 1
    run = a_run(RunStatus.RUNNING)
    leases = Leases()
    leases.check()
    assert fresh(run).status == RunStatus.RUNNING
    time.sleep(1.1)
    leases.check()
    assert fresh(run).status == RunStatus.QUEUED


def test_a_worker_gives_back_what_it_does_not_carry_and_ends_what_it_lost() -> None:
    carried, stray, other = (
        a_run(RunStatus.RUNNING),
        a_run(RunStatus.RUNNING),
        a_run(RunStatus.RUNNING, holder="another"),
    )
    lost = Attempt(a_run(RunStatus.QUEUED).pk, 1)
    ended = threading.Event()
    watch = HeldRuns()
    with (
        executing(Attempt(carried.pk, 1)),
        executing(lost),
        lost.stoppable(ended.set),
    ):
        watch.check()
        assert ended.is_set()
        assert lost.lost
        assert fresh(stray).status == RunStatus.RUNNING  # it may be about to be carried
        watch.check()
    assert [fresh(run).status for run in (carried, stray, other)] == ["running", "queued", "running"]


def started() -> ApprovalRequest:
    user = User.objects.get_or_create(username="decider")[0]
    request = open_one()
    approvals.decide(request.pk, decision=Status.APPROVED, by=user, source=Source.API)
    assert executions.claim_execution(request.pk)
    request.refresh_from_db()
    return request


def test_an_idempotent_call_is_repeated_by_one_of_those_who_saw_it_started() -> None:
    request = started()
    claims = at_once(8, lambda _: executions.claim_repetition(request))
    assert sum(claims) == 1


def test_a_call_ends_once() -> None:
    request = started()

    def one(i: int) -> bool:
        execution = Execution.FAILED if i % 2 else Execution.FINISHED
        return executions.end_execution(request.pk, execution=execution, output=str(i))

    assert sum(at_once(8, one)) == 1


def test_a_call_is_asked_about_again_once() -> None:
    request = started()
    call = a_call(run_id=request.run_id, checkpoint_ns=request.checkpoint_ns)
    asked = at_once(8, lambda _: approvals.ask_again(request, call, "why").pk)
    assert len(set(asked)) == 1
    rounds = ApprovalRequest.objects.filter(run_id=request.run_id).order_by("round")
    assert [(r.round, r.execution, r.reason) for r in rounds] == [(1, "unknown", ""), (2, "none", "why")]


def test_a_call_that_has_ended_is_not_made_unknown() -> None:
    request = started()
    executions.end_execution(request.pk, execution=Execution.FINISHED, output="done")
    approvals.ask_again(request, a_call(run_id=request.run_id, checkpoint_ns=request.checkpoint_ns), "why")
    request.refresh_from_db()
    assert request.execution == Execution.FINISHED


def test_only_a_parked_run_is_queued_by_a_decision() -> None:
    running, parked = a_run(RunStatus.RUNNING), a_run(RunStatus.WAITING, requeue_at=Now() - timedelta(seconds=1))
    before = fresh(running).requeue_at
    for run in (running, parked):
        requeue.resume(run.pk)
    assert fresh(running).requeue_at == before
    assert fresh(parked).requeue_at > fresh(parked).created_at


def test_a_right_to_start_lapses_with_the_lease_however_the_clock_of_the_process_goes(settings: Any) -> None:
    run = a_run(RunStatus.RUNNING)
    Heartbeat.objects.create(kind="worker", name=heartbeats.name(), beat_at=Now() - timedelta(seconds=5))
    with Attempt(run.pk, 1).starting() as left:
        first = left
    Heartbeat.objects.update(beat_at=Now())
    with Attempt(run.pk, 1).starting() as left:
        assert 4.5 < left - first < 6
    # A heartbeat that is late itself is made up for, before anything is started under it.
    Heartbeat.objects.update(beat_at=Now() - timedelta(seconds=settings.LEASE_SECONDS))
    with Attempt(run.pk, 1).starting() as left:
        assert left - first > 4.5
    assert heartbeats.holders().count() == 1

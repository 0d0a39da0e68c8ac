"""Start, claim, park, end and cancel runs: with `requeue` and `resumption` beside it the only writer of Run.

A run moves by statements that name the state they expect, or under a lock on its row; the second of two callers
changes nothing.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Now

from agents.catalog import model_names, settings_check, snapshot
from agents.models import ENDED, LIVING, Run, RunStatus
from agents.runs import attachments, broker, checkpoint_tables, events, heartbeats
from agents.runs.attachments import Attachment
from agents.runs.attempt import Attempt, Lost, within_limit
from aip.core.db import from_now
from aip.core.exceptions import Conflict, NotFound
from aip.core.ids import is_uuid
from hitl import approvals, cancellations

logger = logging.getLogger(__name__)

# How many runs the sweep ends at their limit, or queues again, at a time.
BATCH = 500
PAST_ITS_LIMIT = "The run took longer than its limit of {seconds} s, waiting included, and was ended."


HOW_IT_ENDED = {
    RunStatus.SUCCEEDED: "It succeeded",
    RunStatus.FAILED: "It failed",
    RunStatus.CANCELLED: "It was cancelled",
}


class AlreadyEnded(Conflict):
    """The run has ended; the message says how and when."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"This run has ended already. {how_it_ended(run)}")


def how_it_ended(run: Run) -> str:
    """A sentence about a run that has ended."""
    at = run.completed_at.isoformat() if run.completed_at else "an unknown time"
    return f"{HOW_IT_ENDED[RunStatus(run.status)]} at {at}."


def start(
    agent_id: str,
    *,
    input: str,
    chat_history: list[dict[str, str]],
    runtime_config: dict[str, Any],
    files: Sequence[Attachment] = (),
    requester: str = "",
) -> Run:
    """Write a run, its frozen spec and its first event, and queue it after the commit.

    Raises NotFound, Invalid, and Unavailable where the settings that it overrides cannot be checked now.

    `requester` is the name of the user who starts it; those who decide its calls see it.
    """
    spec = snapshot.freeze(agent_id, runtime_config)
    settings_check.check_run(spec)
    spec["requester"] = requester
    spec["messages"] = [*chat_history, {"role": "user", "content": attachments.user_message(input, files)}]
    limit = spec["timeout_seconds"]
    with transaction.atomic():
        run = Run.objects.create(
            agent_id=spec["agent_id"],
            input=input,
            config=runtime_config or None,
            spec=spec,
            deadline_at=from_now(limit) if limit else None,
        )
        attachments.attach(run, files)
        events.append(run, "opened", events.opened(run.pk, str(model_names.Model(**spec["model"]))))
        transaction.on_commit(lambda: enqueue_best_effort(run.pk), robust=True)
    return run


def find(agent_id: str, run_id: str) -> Run:
    """A run of an agent, who may be deleted by now. Raises NotFound, also for ids that are no UUIDs."""
    are_ids = is_uuid(agent_id) and is_uuid(run_id)
    run = Run.objects.filter(pk=run_id, agent_id=UUID(agent_id)).only("status").first() if are_ids else None
    if run is None:
        raise NotFound(f"The agent {agent_id[:100]} has no run with the id {run_id[:100]}.")
    return run


def enqueue_best_effort(run_id: UUID) -> None:
    with broker.best_effort(run_id):
        broker.enqueue(run_id)


def claim(run_id: UUID) -> tuple[Run, Attempt] | None:
    """Claim a run that is queued, or parked with an undelivered request; None if there is nothing to claim.

    The first claim also begins its step tree.
    """
    has_undelivered = Exists(approvals.undelivered().filter(run_id=OuterRef("pk")))
    claimable = Q(status=RunStatus.QUEUED) | (Q(status=RunStatus.WAITING) & has_undelivered)
    with transaction.atomic():
        claimed = Run.objects.filter(claimable, within_limit(), pk=run_id).update(
            status=RunStatus.RUNNING,
            attempt=F("attempt") + 1,
            holder=heartbeats.name(),
            requeues=0,
            started_at=Coalesce("started_at", Now()),
            updated_at=Now(),
        )
        if not claimed:
            return None
        run = Run.objects.get(pk=run_id)
        if run.attempt == 1:
            events.append(run, "begun", events.begun(run.spec["agent_name"]))
            return run, Attempt(run_id, 1)
        return run, Attempt(run_id, run.attempt, undelivered=approvals.undelivered(run_id).count())


def park(attempt: Attempt) -> None:
    """Release the run until one of its requests is closed. Raises Lost.

    The caller then tries to claim it again: a request that was closed before this moment has queued nothing.
    """
    if not _held(attempt.run_id, attempt.number).update(
        status=RunStatus.WAITING, holder="", requeue_at=Now(), updated_at=Now()
    ):
        raise Lost


def release(run_id: UUID, number: int) -> None:
    """Queue a run that its holder no longer executes; does nothing if it is not held under this number."""
    if _held(run_id, number).update(status=RunStatus.QUEUED, holder="", requeue_at=Now(), updated_at=Now()):
        logger.warning("Run %s was given back by its worker", run_id)


def _held(run_id: UUID, number: int) -> QuerySet[Run]:
    return Run.objects.filter(pk=run_id, attempt=number, status=RunStatus.RUNNING)


def succeed(attempt: Attempt, last_event: events.Payload, usage: dict[str, int]) -> None:
    """The terminal event and the status, in one transaction. Raises Lost."""
    with attempt.writing() as run:
        if usage:
            events.append(run, "usage", events.usage(usage))
        _end([run], RunStatus.SUCCEEDED, lambda _: last_event)


def fail(attempt: Attempt, last_event: events.Payload, *, is_resumable: bool) -> None:
    """As `succeed`. A run that is resumable keeps its checkpoint for a while. Raises Lost."""
    with attempt.writing() as run:
        _end([run], RunStatus.FAILED, lambda _: last_event, is_resumable=is_resumable)


def cancel(run_id: UUID, *, by: str) -> None:
    """End a run now, whatever its status. Raises AlreadyEnded, Run.DoesNotExist.

    Its holder, if it has one, can write nothing any more and ends the tools that run for it.
    """
    with transaction.atomic():
        run = events.locked(run_id)
        if run.status in ENDED:
            raise AlreadyEnded(run)
        _end([run], RunStatus.CANCELLED, lambda pk: events.cancelled(pk, by))
    logger.info("Run %s was cancelled by %s", run_id, by)


@contextmanager
def stopping(run_id: UUID, reason: str) -> Iterator[None]:
    """Lock a run, and end it as cancelled after what is done meanwhile; one that has ended is left as it is.

    The caller's transaction has both.
    """
    run = events.lock(Run.objects.filter(pk=run_id)).first()
    yield
    if run is not None and run.status not in ENDED:
        _end([run], RunStatus.CANCELLED, lambda pk: events.stopped(pk, reason))
        logger.info("Run %s was stopped with a rejection", run_id)


def _end(
    ending: Sequence[Run],
    status: RunStatus,
    last_event: Callable[[UUID], events.Payload],
    *,
    timed_out: bool = False,
    is_resumable: bool = False,
) -> None:
    """End runs whose rows are locked. Their open requests are closed, because they can have no effect any more."""
    ids = [run.pk for run in ending]
    keeps = is_resumable and settings.KEEP_FAILED_HOURS > 0
    cancellations.end_with_runs(ids, timed_out=timed_out)
    for run in ending:
        # A run ends once more for each time that it was resumed.
        events.append(run, f"end:{run.resumptions}" if run.resumptions else "end", last_event(run.pk))
    Run.objects.filter(pk__in=ids).update(
        status=status,
        holder="",
        completed_at=Now(),
        updated_at=Now(),
        resumable_until=from_now(settings.KEEP_FAILED_HOURS * 3600) if keeps else None,
    )
    if not keeps:
        checkpoint_tables.delete(ids)


def end_overdue() -> int:
    """Fail the runs that are past their own limit; returns how many. One whose row is locked is left for next time."""
    overdue = Run.objects.filter(status__in=LIVING, deadline_at__lte=Now()).order_by("deadline_at")
    with transaction.atomic():
        ending = list(events.lock(overdue, skip_locked=True).annotate(limit=KT("spec__timeout_seconds"))[:BATCH])
        reasons = {run.pk: PAST_ITS_LIMIT.format(seconds=run.limit) for run in ending}
        if ending:
            _end(
                ending,
                RunStatus.FAILED,
                lambda pk: events.failed(pk, reasons[pk], "time_limit_exceeded"),
                timed_out=True,
            )
    return len(ending)

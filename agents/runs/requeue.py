"""Queue runs again: those whose request was closed, whose worker died, or which the queue has lost.

Every statement names the state that it expects; the second of two callers changes nothing.
"""

import logging
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from agents.models import REQUEUE_AFTER, Run, RunStatus
from agents.runs import broker, heartbeats, lifecycle
from hitl import approvals

logger = logging.getLogger(__name__)

MAX_REQUEUE_DOUBLINGS = 5


def with_expired_lease() -> QuerySet[Run]:
    """The runs whose holder's lease has expired."""
    return Run.objects.filter(status=RunStatus.RUNNING).exclude(holder__in=heartbeats.holders().values("name"))


def release_expired() -> int:
    """Queue the runs whose holder's lease has expired again; returns how many.

    One whose row is locked is left for next time: its holder writes, or the database will end its connection.
    """
    with transaction.atomic():
        runs = with_expired_lease()
        locked = list(runs.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True))
        # Checked again under the lock: a holder about to start a call may have renewed its lease in between.
        lost = runs.filter(pk__in=locked).update(status=RunStatus.QUEUED, holder="", requeue_at=Now(), updated_at=Now())
    if lost:
        logger.warning("The lease of %d runs has expired; they are queued again", lost)
        _make_all_due()  # the tasks which that worker had received are lost too
    return lost


def _make_all_due() -> None:
    """Make all runs that wait for a worker due, so that the sweep queues them again."""
    with_undelivered = approvals.undelivered().values("run_id")
    for waiting in (
        Run.objects.filter(status=RunStatus.QUEUED),
        Run.objects.filter(status=RunStatus.WAITING, pk__in=with_undelivered),
    ):
        waiting.update(requeue_at=Now(), requeues=0)


def resume(run_id: UUID) -> None:
    """Queue a run that is parked. The holder of a held one is woken; a queued one will be claimed.

    Raises kombu's OperationalError when Redis is away; the sweep queues it then.
    """
    _queue(Run.objects.filter(pk=run_id, status=RunStatus.WAITING), run_id)


def queue_again(run_id: UUID) -> None:
    """Queue a run that the queue has lost, before the sweep does. Raises as `resume`."""
    _queue(Run.objects.filter(pk=run_id, status__in=[RunStatus.QUEUED, RunStatus.WAITING]), run_id)


def _queue(run: QuerySet[Run], run_id: UUID) -> None:
    if run.update(requeue_at=Now() + REQUEUE_AFTER):
        try:
            broker.enqueue(run_id)
        except Exception:
            run.update(requeue_at=Now())
            raise


def parked_without_requests() -> QuerySet[Run]:
    """The parked runs that no decision would resume: they have no request that is pending or undelivered."""
    requests = approvals.pending_or_undelivered().filter(run_id=OuterRef("pk"))
    return Run.objects.filter(~Exists(requests), status=RunStatus.WAITING)


def unpark(run_id: UUID) -> None:
    """Queue a parked run without requests; does nothing if it has one by now. Raises as `resume`."""
    if parked_without_requests().filter(pk=run_id).update(status=RunStatus.QUEUED, updated_at=Now()):
        queue_again(run_id)


def requeue_lost() -> int:
    """Queue again the runs that the queue has lost: queued for too long, or parked with an undelivered request.

    Returns how many. Each time a run waits twice as long for the next time, up to five minutes, until a worker claims
    it; but when Redis has lost its data, all are queued at once. A run that is in the queue twice is claimed once.
    Raises kombu's OperationalError or RedisError when Redis is away; that attempt does not count.
    """
    if broker.has_lost_data():
        _make_all_due()
        broker.set_mark()
    due = Run.objects.filter(requeue_at__lte=Now()).order_by("requeue_at")
    queued = due.filter(status=RunStatus.QUEUED)
    parked = due.filter(status=RunStatus.WAITING, pk__in=approvals.undelivered().values("run_id"))
    found = [
        row for lost in (queued, parked) for row in lost.values_list("pk", "status", "requeues")[: lifecycle.BATCH]
    ]
    for pk, status, requeues in found:
        wait = REQUEUE_AFTER * 2 ** min(requeues + 1, MAX_REQUEUE_DOUBLINGS)
        still = Run.objects.filter(pk=pk, status=status)
        if still.filter(requeues=requeues).update(requeues=requeues + 1, requeue_at=Now() + wait):
            try:
                broker.enqueue(pk)
            except Exception:
                still.filter(requeues=requeues + 1).update(requeues=requeues, requeue_at=Now())
                raise
    return len(found)

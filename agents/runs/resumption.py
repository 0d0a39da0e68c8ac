"""Resume runs that failed for their model's sake or at their step limit, while their checkpoints are kept."""

import logging
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.fields.json import KT
from django.db.models.functions import Now

from agents.models import REQUEUE_AFTER, Run, RunStatus
from agents.runs import checkpoint_tables, events, lifecycle
from aip.core.db import from_now
from aip.core.exceptions import Conflict

logger = logging.getLogger(__name__)


class NotResumable(Conflict):
    """Only a failed run whose checkpoint is kept can be resumed; the message says what this run is."""


def resume(run_id: UUID, *, by: str) -> None:
    """Queue a failed run whose checkpoint is kept: it goes on where it stopped, under its spec and a new time limit.

    Its requests are closed, so the gate asks again about each call that was not decided, or had not begun, or whose
    outcome is unknown. Raises NotResumable, Run.DoesNotExist.
    """
    with transaction.atomic():
        run = events.lock(Run.objects.filter(pk=run_id)).annotate(limit=KT("spec__timeout_seconds")).get()
        kept = Run.objects.filter(pk=run_id, resumable_until__gt=Now())
        if not kept.update(
            status=RunStatus.QUEUED,
            completed_at=None,
            deadline_at=from_now(float(run.limit)) if run.limit else None,
            resumable_until=None,
            resumptions=F("resumptions") + 1,
            requeues=0,
            requeue_at=Now() + REQUEUE_AFTER,
            updated_at=Now(),
        ):
            raise NotResumable(_why_not(run))
        events.append(run, f"resumed:{run.resumptions + 1}", events.resumed(run_id, by))
        transaction.on_commit(lambda: lifecycle.enqueue_best_effort(run_id), robust=True)
    logger.info("Run %s was resumed by %s", run_id, by)


def _why_not(run: Run) -> str:
    match run.status:
        case RunStatus.FAILED:
            return (
                "This run cannot be resumed: either it failed for another reason than its model or its step limit, or "
                f"its state is no longer kept (AIP_KEEP_FAILED_HOURS is {settings.KEEP_FAILED_HOURS}). Start a new run."
            )
        case RunStatus.SUCCEEDED | RunStatus.CANCELLED:
            return f"Only a failed run can be resumed. {lifecycle.how_it_ended(run)}"
        case _:
            return "This run goes on already; only a failed run can be resumed."


def delete_expired() -> int:
    """Delete the checkpoints of failed runs that are kept no longer; returns of how many."""
    with transaction.atomic():
        expired = Run.objects.filter(resumable_until__lte=Now()).order_by("resumable_until")
        locked = expired.select_for_update(no_key=True, skip_locked=True)
        ids = list(locked.values_list("pk", flat=True)[: lifecycle.BATCH])
        if ids:
            checkpoint_tables.delete(ids)
            Run.objects.filter(pk__in=ids).update(resumable_until=None)
    return len(ids)

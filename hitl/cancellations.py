"""Close what is asked about calls that cannot run any more, because their run has ended or their tool is gone.

With `hitl.approvals` and `hitl.executions` the only writer of the rows.
"""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now

from hitl import approvals, on_commit
from hitl.models import RUN_TIMEOUT_NOTE, ApprovalRequest, Execution, Source, Status


def end_with_runs(run_ids: Sequence[UUID], *, timed_out: bool) -> None:
    """Close what still waits for runs that end: as `timeout_skip` at the run's own limit, else as `cancelled`.

    Nobody decided what is cancelled, so there is no Decision. After this nothing of the runs is undelivered, and the
    outcome of what runs is unknown. At a limit it wakes no waiters, as `time_out`.
    """
    with transaction.atomic(savepoint=False):
        still_open = ApprovalRequest.objects.filter(run_id__in=run_ids, status=Status.PENDING)
        still_open = still_open.select_for_update(no_key=True).defer("arguments", "context")
        if timed_out:
            approvals.close(still_open, Status.TIMEOUT_SKIP, operator_input=RUN_TIMEOUT_NOTE, source=Source.TIMEOUT)
        else:
            on_commit.wake(*_cancel(still_open))
        theirs = ApprovalRequest.objects.filter(run_id__in=run_ids).exclude(status=Status.PENDING)
        began = Q(execution=Execution.STARTED)  # its attempt can record no result any more
        theirs.filter(Q(settled_at=None) | began).update(
            settled_at=Coalesce("settled_at", Now()),
            execution=Case(When(began, then=Value(Execution.UNKNOWN)), default=F("execution")),
            execution_ended_at=Case(When(began, then=Now()), default=F("execution_ended_at")),
        )


def withdraw(run_id: UUID, checkpoint_ns: str) -> ApprovalRequest | None:
    """Close what is asked about one call that cannot run any more; the last request if it had been decided."""
    last = approvals.latest_round(run_id, checkpoint_ns)
    if last is None:
        return None
    this = ApprovalRequest.objects.filter(pk=last.pk)
    is_open = bool(_cancel(this.filter(status=Status.PENDING).select_for_update(no_key=True)))
    this.filter(execution=Execution.STARTED).update(execution=Execution.UNKNOWN, execution_ended_at=Now())
    approvals.mark_delivered(last.pk)
    return None if is_open or last.status == Status.CANCELLED else last


def withdraw_all(tool_id: UUID) -> None:
    """Close what waits for a tool that is deleted; the runs go on, and their models get the reason.

    There may be thousands, so the parked ones are left to the sweep to resume.
    """
    with transaction.atomic():
        of_tool = ApprovalRequest.objects.filter(tool_id=tool_id, status=Status.PENDING)
        on_commit.wake(*_cancel(of_tool.select_for_update(no_key=True)))


def _cancel(open_ones: QuerySet[ApprovalRequest]) -> list[UUID]:
    """Close requests, which are locked as they are read, without a decision; their ids."""
    ids = list(open_ones.values_list("pk", flat=True))
    if ids:
        still = ApprovalRequest.objects.filter(pk__in=ids, status=Status.PENDING)
        still.update(status=Status.CANCELLED, closed_at=Now())
    for pk in ids:
        on_commit.announce(pk)
    return ids

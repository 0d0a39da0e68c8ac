"""Approved calls: the right to run them, handed out once, and what came of it. With `hitl.approvals` the only writer.

Every move is one UPDATE that names the state it expects, so the second of two callers changes nothing.
"""

from datetime import datetime
from uuid import UUID

from django.db.models.functions import Now

from hitl import on_commit
from hitl.models import ApprovalRequest, Execution, Status


def claim_execution(request_id: UUID) -> bool:
    """Take the right to run an approved call. True once, for one caller, ever.

    An approval whose run ended before the call began is settled, and lets nothing run.
    """
    unstarted = ApprovalRequest.objects.filter(
        pk=request_id, status=Status.APPROVED, execution=Execution.NONE, settled_at=None
    )
    return unstarted.update(execution=Execution.STARTED, execution_started_at=Now()) == 1


def claim_repetition(request: ApprovalRequest) -> bool:
    """Take the right to start a call again whose tool is idempotent; true for one of those who saw it started then."""
    seen = ApprovalRequest.objects.filter(
        pk=request.pk, execution=Execution.STARTED, execution_started_at=request.execution_started_at
    )
    return seen.update(execution_started_at=Now()) == 1


def end_execution(request_id: UUID, *, execution: Execution, output: str) -> bool:
    """Record what a started call came to: `finished` or `failed`, with its output or the reason."""
    started = ApprovalRequest.objects.filter(pk=request_id, execution=Execution.STARTED)
    if started.update(execution=execution, execution_ended_at=Now(), settled_at=Now(), output=output) != 1:
        return False
    on_commit.announce(request_id)
    return True


def unknown_since(run_id: UUID, checkpoint_ns: str) -> datetime | None:
    """When the last of those attempts at a call began whose outcome is unknown; None if there is none."""
    unknown = ApprovalRequest.objects.filter(run_id=run_id, checkpoint_ns=checkpoint_ns, execution=Execution.UNKNOWN)
    return unknown.order_by("-round").values_list("execution_started_at", flat=True).first()

"""What follows a change of requests, once it is committed. Each may fail by itself, and breaks nothing but speed."""

import logging
from uuid import UUID

from django.db import transaction
from redis import RedisError

from aip.core import pubsub
from hitl import doorbell
from hitl.models import SHORT_SEAL, ApprovalRequest, Decision
from hitl.signals import request_closed

logger = logging.getLogger(__name__)

# The channel group of the open consoles.
GROUP = "hitl.requests"

# Lambdas: in Django 5.2 a functools.partial breaks robust hooks (ticket 36487).


def announce(request_id: UUID) -> None:
    """Notify the open consoles, which read the row, that a request opened or closed."""
    message = {"type": "request.changed", "id": str(request_id)}
    transaction.on_commit(lambda: pubsub.send(GROUP, message), robust=True)


def wake(*request_ids: UUID) -> None:
    """Wake those who hold for these requests."""
    if request_ids:
        transaction.on_commit(lambda: _wake(*request_ids), robust=True)


def _wake(*request_ids: UUID) -> None:
    try:
        doorbell.wake(*request_ids)
    except RedisError as e:
        logger.warning("Nobody was woken (%s); who holds looks at the rows", type(e).__name__)


def resume(run_id: UUID) -> None:
    """Let a run that may be parked go on."""
    transaction.on_commit(lambda: request_closed.send_robust(ApprovalRequest, run_id=run_id), robust=True)


def log(request: ApprovalRequest, decision: Decision) -> None:
    """The line of a decision (contract 3.9)."""
    transaction.on_commit(lambda: _log(request, decision), robust=True)


def _log(request: ApprovalRequest, decision: Decision) -> None:
    closed_at = request.closed_at or request.created_at
    logger.info(
        "hitl_decision tool=%s decision=%s request=%s seal=%s by=%s latency_ms=%d",
        request.tool_name,
        request.outcome,
        request.pk,
        request.seal_to_run[:SHORT_SEAL],
        decision.decided_by_name or decision.source,
        (closed_at - request.created_at).total_seconds() * 1000,
    )

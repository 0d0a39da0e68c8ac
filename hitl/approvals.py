"""Open, decide, time out and execute approval requests: the only writer of their rows.

Every move is one UPDATE that names the state it expects, so whoever comes second changes nothing.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q, QuerySet, Value
from django.db.models.functions import Now

from hitl import events, waiting
from hitl.models import ApprovalRequest, Decision, Execution, Source, Status
from hitl.seal import seal

logger = logging.getLogger(__name__)

# The words that a person may decide with; `timeout_skip` is the clock's alone.
DECIDABLE = (Status.APPROVED, Status.REJECTED, Status.SKIPPED)
TIMEOUT_NOTE = "TIMEOUT"
RECENT = timedelta(minutes=15)
# How many overdue requests one look of the sweep closes.
BATCH = 200


@dataclass(frozen=True, kw_only=True)
class Call:
    """A gated call as the gate meets it: everything its seal covers, and the provider's id for it."""

    tool_id: UUID
    tool_version: str
    tool_name: str
    arguments: dict[str, Any]
    agent_id: UUID
    run_id: UUID
    checkpoint_ns: str
    agent_name: str
    tool_call_id: str

    @property
    def seal(self) -> str:
        return seal(
            tool_id=self.tool_id,
            tool_version=self.tool_version,
            tool_name=self.tool_name,
            arguments=self.arguments,
            agent_id=self.agent_id,
            run_id=self.run_id,
            checkpoint_ns=self.checkpoint_ns,
        )


class UnknownRequest(LookupError):
    """No approval request has this id."""


class AlreadyClosed(Exception):
    """The request was decided or ran out of time before; says who, what and when."""

    def __init__(self, request: ApprovalRequest) -> None:
        self.request = request
        super().__init__(describe_closing(request))


def describe_closing(request: ApprovalRequest) -> str:
    """Who closed a request, how and when, as one sentence."""
    if request.status == Status.PENDING:
        return f"This request ran out of time at {request.timeout_at.isoformat()}; the step is skipped."
    at = request.closed_at.isoformat() if request.closed_at else ""
    if request.status == Status.TIMEOUT_SKIP:
        return f"This request ran out of time at {at}; the step was skipped."
    if request.status == Status.CANCELLED:
        return f"This request was cancelled with its run at {at}."
    return f"This request was already {request.status} by {request.decision.decided_by_name} at {at}."


def pending() -> QuerySet[ApprovalRequest]:
    """The requests that can be decided now, by the database's clock; the next to expire comes first."""
    return ApprovalRequest.objects.filter(status=Status.PENDING, timeout_at__gt=Now()).order_by("timeout_at", "id")


def recently_closed() -> QuerySet[ApprovalRequest]:
    """The requests that were closed within the last minutes, the last one first."""
    return ApprovalRequest.objects.filter(closed_at__gt=Now() - RECENT).order_by("-closed_at")


def open_request(call: Call, *, timeout_seconds: float, context: dict[str, Any]) -> ApprovalRequest:
    """The request about `call`: found again when the gate is entered again, else opened and committed."""
    timeout_at = ExpressionWrapper(Now() + Value(timedelta(seconds=timeout_seconds)), output_field=DateTimeField())
    fields = asdict(call)
    key = {"run_id": fields.pop("run_id"), "checkpoint_ns": fields.pop("checkpoint_ns"), "round": 1}
    request, opened = ApprovalRequest.objects.get_or_create(
        **key,
        defaults=fields
        | {
            "seal": call.seal,
            "context": context,
            "timeout_seconds": timeout_seconds,
            "created_at": Now(),
            "timeout_at": timeout_at,
        },
    )
    if opened:
        request.refresh_from_db(fields=["created_at", "timeout_at"])
        transaction.on_commit(lambda: events.announce(request.pk, request.status), robust=True)
    return request


def look(request_id: UUID) -> tuple[ApprovalRequest, float]:
    """A request with its decision, and the seconds left until its deadline by the database's clock."""
    request = ApprovalRequest.objects.select_related("decision").annotate(now=Now()).get(pk=request_id)
    return request, (request.timeout_at - request.now).total_seconds()


def decide(
    request_id: UUID,
    *,
    decision: Status,
    by: AbstractBaseUser,
    source: Source,
    note: str = "",
    client_run_id: str = "",
) -> Decision:
    """Record a person's decision.

    Raises UnknownRequest, or AlreadyClosed when another decision or the deadline came first.
    """
    if decision not in DECIDABLE:
        raise ValueError(f"{decision!r} is not a person's decision")
    made = _close(
        request_id,
        decision,
        Q(timeout_at__gt=Now()),
        operator_input=note,
        source=source,
        decided_by=by,
        decided_by_name=by.get_username(),
        client_run_id=client_run_id,
    )
    if made is None:
        request = ApprovalRequest.objects.select_related("decision").filter(pk=request_id).first()
        if request is None:
            raise UnknownRequest(f"No approval request has the id {request_id}.")
        raise AlreadyClosed(request)
    return made


def time_out(request_id: UUID) -> Decision | None:
    """Close a request whose deadline has passed as `timeout_skip`; None if it is closed or on time."""
    return _close(
        request_id,
        Status.TIMEOUT_SKIP,
        Q(timeout_at__lte=Now()),
        operator_input=TIMEOUT_NOTE,
        source=Source.TIMEOUT,
    )


def time_out_overdue() -> int:
    """Close every overdue request; how many it closed."""
    overdue = ApprovalRequest.objects.filter(status=Status.PENDING, timeout_at__lte=Now()).order_by("timeout_at")
    ids = list(overdue.values_list("pk", flat=True)[:BATCH])
    return sum(time_out(pk) is not None for pk in ids)


def cancel_open(run_id: UUID) -> None:
    """Close what still waits for a run that ends. Nobody decided, so there is no Decision."""
    for pk in ApprovalRequest.objects.filter(run_id=run_id, status=Status.PENDING).values_list("pk", flat=True):
        still_open = ApprovalRequest.objects.filter(pk=pk, status=Status.PENDING)
        if still_open.update(status=Status.CANCELLED, closed_at=Now()):
            transaction.on_commit(lambda pk=pk: events.announce(pk, Status.CANCELLED), robust=True)  # type: ignore[misc]


def _close(request_id: UUID, status: Status, on_time: Q, **fields: Any) -> Decision | None:
    with transaction.atomic():
        expected = ApprovalRequest.objects.filter(on_time, pk=request_id, status=Status.PENDING)
        if expected.update(status=status, closed_at=Now()) != 1:
            return None
        request = ApprovalRequest.objects.get(pk=request_id)
        decision = Decision.objects.create(
            request=request, decision=status, seal=request.seal if status == Status.APPROVED else "", **fields
        )
        # Lambdas: in Django 5.2 a functools.partial breaks robust hooks (ticket 36487).
        transaction.on_commit(lambda: _log(request, decision), robust=True)
        transaction.on_commit(lambda: waiting.wake(request.pk), robust=True)
        transaction.on_commit(lambda: events.announce(request.pk, request.status), robust=True)
        return decision


def _log(request: ApprovalRequest, decision: Decision) -> None:
    closed_at = request.closed_at or request.created_at
    logger.info(
        "hitl_decision tool=%s decision=%s request=%s seal=%s by=%s latency_ms=%d",
        request.tool_name,
        decision.decision,
        request.pk,
        request.seal[:8],
        decision.decided_by_name or decision.source,
        (closed_at - request.created_at).total_seconds() * 1000,
    )


def claim_execution(request_id: UUID) -> bool:
    """Take the right to run an approved call. True once, for one caller, ever."""
    unstarted = ApprovalRequest.objects.filter(pk=request_id, status=Status.APPROVED, execution=Execution.NONE)
    return unstarted.update(execution=Execution.STARTED, execution_started_at=Now()) == 1


def end_execution(request_id: UUID, *, execution: Execution, output: str) -> bool:
    """Record what a started call came to: `finished` or `failed`, with its output or the reason."""
    started = ApprovalRequest.objects.filter(pk=request_id, execution=Execution.STARTED)
    if started.update(execution=execution, execution_ended_at=Now(), output=output) != 1:
        return False
    transaction.on_commit(lambda: events.announce(request_id, Status.APPROVED), robust=True)
    return True

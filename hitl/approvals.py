"""Open, decide, extend and time out approval requests: with `hitl.cancellations` and `hitl.executions` the only writer.

Every move is one UPDATE that names the state it expects, so whoever comes second changes nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from aip.core.annotated import WithAnnotations
from aip.core.db import from_now
from aip.core.jsonb import storable
from hitl import decision_rules, on_commit
from hitl.call import Call
from hitl.exceptions import AlreadyClosed, InvalidDecision, UnknownRequest
from hitl.models import ApprovalRequest, Decision, Execution, Extension, Source, Status
from hitl.seal import Arguments

logger = logging.getLogger(__name__)

# The words that a person may decide with; `timeout_skip` is the clock's alone.
DECIDABLE = (Status.APPROVED, Status.REJECTED, Status.SKIPPED)
TIMEOUT_NOTE = "TIMEOUT"
RECENT = timedelta(minutes=15)
# How many overdue requests one look of the sweep closes, in one transaction.
BATCH = 5000


class ReadAt(TypedDict):
    """The database's time when a row was read."""

    now: datetime


TimedRequest = WithAnnotations[ApprovalRequest, ReadAt]


def pending() -> QuerySet[ApprovalRequest]:
    """The requests that can be decided now, by the database's clock; the next to expire comes first."""
    return ApprovalRequest.objects.filter(status=Status.PENDING, timeout_at__gt=Now()).order_by("timeout_at", "id")


def recently_closed() -> QuerySet[ApprovalRequest]:
    """The requests that were closed within the last minutes, the last one first."""
    return ApprovalRequest.objects.filter(closed_at__gt=Now() - RECENT).order_by("-closed_at")


def closed_unsettled(run_id: UUID | None = None) -> QuerySet[ApprovalRequest]:
    """The requests that were closed and have not had their effect on their run yet."""
    found = unsettled().exclude(status=Status.PENDING)
    return found.filter(run_id=run_id) if run_id else found


def unsettled() -> QuerySet[ApprovalRequest]:
    """The requests that wait for a person, or whose run has yet to hear of what became of them."""
    return ApprovalRequest.objects.filter(settled_at=None)


def open_request(call: Call, *, timeout_seconds: float, context: dict[str, Any]) -> TimedRequest:
    """The last request about `call`: found again when the gate is entered again, else opened."""
    found = last(call.run_id, call.checkpoint_ns)
    return found or _open(call, timeout_seconds=timeout_seconds, context=context, round=1)


def last(run_id: UUID, checkpoint_ns: str) -> TimedRequest | None:
    return _seen().filter(run_id=run_id, checkpoint_ns=checkpoint_ns).order_by("-round").first()


def ask_again(request: ApprovalRequest, call: Call, reason: str) -> TimedRequest:
    """Open the next round about a call that was approved and cannot be run under that approval.

    A call that was started is marked as unknown. The caller's transaction keeps others from the run.
    """
    started = ApprovalRequest.objects.filter(pk=request.pk, execution=Execution.STARTED)
    started.update(execution=Execution.UNKNOWN, execution_ended_at=Now())
    settle(request.pk)
    on_commit.announce(request.pk, request.status)
    return _open(
        call,
        timeout_seconds=request.timeout_seconds,
        context=request.context,
        round=request.round + 1,
        reason=reason,
        model_arguments=None if request.operators_arguments is None else request.asked_arguments,
    )


def _open(call: Call, *, timeout_seconds: float, context: dict[str, Any], **more: Any) -> TimedRequest:
    new = ApprovalRequest(
        **asdict(call),
        **more,
        seal=call.seal,
        context=context,
        timeout_seconds=timeout_seconds,
        created_at=Now(),
        timeout_at=from_now(timeout_seconds),
    )
    # Whoever comes second finds the first one's.
    ApprovalRequest.objects.bulk_create([new], ignore_conflicts=True)
    key = {"run_id": call.run_id, "checkpoint_ns": call.checkpoint_ns, "round": new.round}
    request = _seen().get(**key)
    if request.pk == new.pk:
        on_commit.announce(request.pk, request.status)
    return request


def look(request_id: UUID) -> TimedRequest:
    """A request with its decision."""
    return _seen().get(pk=request_id)


def seconds_left(request: TimedRequest) -> float:
    """Until the deadline of a request, by the database's clock, when it was read."""
    return (request.timeout_at - request.now).total_seconds()


def _seen() -> QuerySet[TimedRequest]:
    """Requests with their decisions."""
    return ApprovalRequest.objects.select_related("decision").annotate(now=Now())


def decide(
    request_id: UUID,
    *,
    decision: Status,
    by: AbstractBaseUser,
    source: Source,
    note: str = "",
    client_run_id: str = "",
    arguments: Arguments | None = None,
    answer: str | None = None,
    seal: str = "",
) -> Decision:
    """Record a person's decision.

    `arguments`, with `approved`: run the call with these instead. `answer`, with `skipped`: the call's result in
    place of the tool's. `seal`: that of the call that was seen, whole or its first eight characters or more.

    Raises UnknownRequest, AlreadyClosed when another decision or the deadline came first, StaleSeal, InvalidDecision.
    """
    if decision not in DECIDABLE:
        raise ValueError(f"{decision!r} is not a person's decision")
    decision_rules.check_extras(decision, arguments, answer)
    if arguments is not None:
        _check_arguments(request_id, seal, arguments)

    def covered(row: ApprovalRequest) -> dict[str, Any]:
        decision_rules.check_seal(row, seal)
        return decision_rules.what_runs(row, arguments) if decision == Status.APPROVED else {}

    with transaction.atomic():
        # First of all that follows: who holds goes on while others are told. To ring for a closed one does no harm.
        on_commit.wake(request_id)
        made = close(
            _open_now(request_id),
            decision,
            covered,
            operator_input=note,
            source=source,
            decided_by=by,
            decided_by_name=by.get_username(),
            client_run_id=client_run_id,
            answer=None if answer is None else storable(answer),
        )
        if made:
            on_commit.resume(made[0].request.run_id)
    if not made:
        raise _too_late(request_id)
    return made[0]


def _check_arguments(request_id: UUID, seal: str, arguments: Arguments) -> None:
    """Before the row is locked, as it takes its time; what they are checked against does not change."""
    asked = pending().filter(pk=request_id).first()
    if asked is None:
        raise _too_late(request_id)
    decision_rules.check_seal(asked, seal)
    decision_rules.check_arguments(asked, arguments)


def _open_now(request_id: UUID) -> QuerySet[ApprovalRequest]:
    """A request that can be decided now, locked when it is read."""
    open_now = ApprovalRequest.objects.filter(pk=request_id, status=Status.PENDING, timeout_at__gt=Now())
    return open_now.select_for_update(no_key=True)


def _too_late(request_id: UUID) -> Exception:
    request = ApprovalRequest.objects.select_related("decision").filter(pk=request_id).first()
    return AlreadyClosed(request) if request else UnknownRequest(f"No approval request has the id {request_id}.")


def extend(request_id: UUID, *, seconds: int, by: User, source: Source) -> ApprovalRequest:
    """Give a pending request `seconds` more. Raises UnknownRequest, AlreadyClosed, InvalidDecision."""
    if seconds < 1:
        raise InvalidDecision(seconds="This must be a whole number of seconds, at least 1.")
    with transaction.atomic():
        row = _open_now(request_id).first()
        if row is not None:
            room = int(settings.HITL_MAX_TIMEOUT_SECONDS - row.timeout_seconds)
            if seconds > room:
                raise InvalidDecision(seconds=f"This request can be extended by at most {max(0, room)} seconds.")
            row.timeout_seconds += seconds
            row.timeout_at = row.created_at + timedelta(seconds=row.timeout_seconds)
            row.save(update_fields=["timeout_seconds", "timeout_at"])
            Extension.objects.create(
                request=row,
                seconds=seconds,
                timeout_at=row.timeout_at,
                source=source,
                extended_by=by,
                extended_by_name=by.get_username(),
            )
            on_commit.announce(row.pk, row.status)
    if row is None:
        raise _too_late(request_id)
    logger.info("hitl_extended tool=%s request=%s seconds=%d by=%s", row.tool_name, row.pk, seconds, by.get_username())
    return row


def time_out(request_id: UUID) -> bool:
    """Close a request whose deadline has passed as `timeout_skip`; False if it is closed or on time.

    Rings for nobody, so that a Redis that is away delays no deadline: who holds the call has its deadline too, and
    the sweep takes up parked runs.
    """
    overdue = _overdue().filter(pk=request_id).select_for_update(no_key=True)
    return bool(close(overdue, Status.TIMEOUT_SKIP, operator_input=TIMEOUT_NOTE, source=Source.TIMEOUT))


def time_out_overdue() -> int:
    """Close every overdue request; how many. One whose row is locked is looked at next time, and delays no other."""
    overdue = _overdue().order_by("timeout_at").select_for_update(no_key=True, skip_locked=True)
    overdue = overdue.defer("arguments", "model_arguments", "args_schema", "context")[:BATCH]
    return len(close(overdue, Status.TIMEOUT_SKIP, operator_input=TIMEOUT_NOTE, source=Source.TIMEOUT))


def _overdue() -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(status=Status.PENDING, timeout_at__lte=Now())


def settle(request_id: UUID) -> None:
    """Note that what became of a request has had its effect on its run."""
    ApprovalRequest.objects.filter(pk=request_id, settled_at=None).update(settled_at=Now())


def _nothing(row: ApprovalRequest) -> dict[str, Any]:
    return {}


def close(
    requests: QuerySet[ApprovalRequest],
    status: Status,
    covered: Callable[[ApprovalRequest], dict[str, Any]] = _nothing,
    **fields: Any,
) -> list[Decision]:
    """Close those of the requests that are pending, which are locked as they are read, each with its Decision.

    `covered` gives what a decision lets run: its seal and arguments. Raises what that raises, before anything moved.
    """
    with transaction.atomic(savepoint=False):
        rows = list(requests.annotate(now=Now()))
        if not rows:
            return []
        lets_run = [covered(row) for row in rows]
        still = ApprovalRequest.objects.filter(pk__in=[row.pk for row in rows], status=Status.PENDING)
        still.update(status=status, closed_at=rows[0].now)
        for row in rows:
            row.status, row.closed_at = status, row.now
        made = [
            Decision(request=row, decision=status, **fields, **run) for row, run in zip(rows, lets_run, strict=True)
        ]
        for decision in Decision.objects.bulk_create(made):
            on_commit.log(decision.request, decision)
            on_commit.announce(decision.request.pk, status)
        return made

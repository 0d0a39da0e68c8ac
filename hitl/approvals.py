"""Open, decide, extend and time out approval requests: with `hitl.cancellations` and `hitl.executions` the only writer.

Every move is one UPDATE that names the state it expects, so the second of two callers changes nothing.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from aip.core.annotated import WithAnnotations
from aip.core.db import from_now
from aip.core.jsonb import storable
from hitl import decision_rules, on_commit, run_stop
from hitl.call import Call
from hitl.exceptions import AlreadyClosed, InvalidDecision, UnknownRequest
from hitl.models import ApprovalRequest, Decision, Execution, Extension, Source, Status
from hitl.seal import Arguments

logger = logging.getLogger(__name__)

# The decisions that a person can make; only the clock makes `timeout_skip`.
DECIDABLE = (Status.APPROVED, Status.REJECTED, Status.SKIPPED)
TIMEOUT_NOTE = "TIMEOUT"
RECENT = timedelta(minutes=15)
# How many overdue requests the sweep closes in one transaction.
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


def undelivered(run_id: UUID | None = None) -> QuerySet[ApprovalRequest]:
    """The closed requests whose outcome has not had its effect on their run yet."""
    found = pending_or_undelivered().exclude(status=Status.PENDING)
    return found.filter(run_id=run_id) if run_id else found


def pending_or_undelivered() -> QuerySet[ApprovalRequest]:
    """The requests that wait for a person, or whose outcome is undelivered."""
    return ApprovalRequest.objects.filter(settled_at=None)


def open_request(call: Call, *, timeout_seconds: float, context: dict[str, Any]) -> TimedRequest:
    """The last request about `call`: found again when the gate is entered again, else opened."""
    found = latest_round(call.run_id, call.checkpoint_ns)
    return found or _open(call, timeout_seconds=timeout_seconds, context=context, round=1)


def latest_round(run_id: UUID, checkpoint_ns: str) -> TimedRequest | None:
    return _with_decision().filter(run_id=run_id, checkpoint_ns=checkpoint_ns).order_by("-round").first()


def rejections(run_id: UUID, tool_id: UUID, arguments: Arguments) -> int:
    """How often a person has rejected the same call of a run: the same tool with the same arguments."""
    as_asked = Q(arguments=arguments, model_arguments__isnull=True) | Q(model_arguments=arguments)
    return ApprovalRequest.objects.filter(as_asked, run_id=run_id, tool_id=tool_id, status=Status.REJECTED).count()


def ask_again(request: ApprovalRequest, call: Call, reason: str) -> TimedRequest:
    """Open the next round about a call that cannot be run under its last one, which is closed.

    A call that was started is marked as unknown. The caller's transaction keeps others from the run.
    """
    started = ApprovalRequest.objects.filter(pk=request.pk, execution=Execution.STARTED)
    started.update(execution=Execution.UNKNOWN, execution_ended_at=Now())
    mark_delivered(request.pk)
    on_commit.announce(request.pk)
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
    # The second of two callers finds the request of the first.
    ApprovalRequest.objects.bulk_create([new], ignore_conflicts=True)
    key = {"run_id": call.run_id, "checkpoint_ns": call.checkpoint_ns, "round": new.round}
    request = _with_decision().get(**key)
    if request.pk == new.pk:
        on_commit.announce(request.pk)
    return request


def fetch(request_id: UUID) -> TimedRequest:
    """A request with its decision."""
    return _with_decision().get(pk=request_id)


def seconds_left(request: TimedRequest) -> float:
    """Until the deadline of a request, by the database's clock, when it was read."""
    return (request.timeout_at - request.now).total_seconds()


def _with_decision() -> QuerySet[TimedRequest]:
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
    stop_run: bool = False,
) -> Decision:
    """Record a person's decision.

    `arguments`, with `approved`: run the call with these instead. `answer`, with `skipped`: the call's result in
    place of the tool's. `seal`: that of the call that was seen, whole or its first eight characters or more.
    `stop_run`, with `rejected`: end the run in the same transaction, and with it its other requests.

    Raises UnknownRequest, AlreadyClosed when another decision or the deadline came first, StaleSeal, InvalidDecision.
    """
    if decision not in DECIDABLE:
        raise ValueError(f"{decision!r} is not a person's decision")
    decision_rules.check_extras(decision, arguments, answer, stop_run=stop_run)
    if arguments is not None:
        _check_arguments(request_id, seal, arguments)

    def decision_fields(row: ApprovalRequest) -> dict[str, Any]:
        decision_rules.check_seal(row, seal)
        return decision_rules.approval_fields(row, arguments) if decision == Status.APPROVED else {}

    with transaction.atomic():
        # Registered first, so that a waiting worker continues before anyone else is notified. Waking a closed request
        # is harmless.
        on_commit.wake(request_id)
        with _stopping(request_id, by, note) if stop_run else nullcontext():
            recorded = close(
                _locked_pending(request_id),
                decision,
                decision_fields,
                operator_input=note,
                source=source,
                decided_by=by,
                decided_by_name=by.get_username(),
                client_run_id=client_run_id,
                answer=None if answer is None else storable(answer),
            )
            if not recorded:
                raise _too_late(request_id)
        if not stop_run:
            on_commit.resume(recorded[0].request.run_id)
    return recorded[0]


def _stopping(request_id: UUID, by: AbstractBaseUser, note: str) -> AbstractContextManager[None]:
    """Ends the run of a request with its rejection; the run is locked first, as everywhere."""
    asked = ApprovalRequest.objects.filter(pk=request_id).only("run_id", "tool_name").first()
    if asked is None:
        raise _too_late(request_id)
    reason = f"The run was stopped by {by.get_username()}, who rejected its call of {asked.tool_name}."
    return run_stop.stopping(asked.run_id, f"{reason} {note}".strip())


def _check_arguments(request_id: UUID, seal: str, arguments: Arguments) -> None:
    """Called before the row is locked, because it can take long; what they are checked against does not change."""
    asked = pending().filter(pk=request_id).first()
    if asked is None:
        raise _too_late(request_id)
    decision_rules.check_seal(asked, seal)
    decision_rules.check_arguments(asked, arguments)


def _locked_pending(request_id: UUID) -> QuerySet[ApprovalRequest]:
    """A request that can be decided now, locked when it is read."""
    found = ApprovalRequest.objects.filter(pk=request_id, status=Status.PENDING, timeout_at__gt=Now())
    return found.select_for_update(no_key=True)


def _too_late(request_id: UUID) -> Exception:
    request = ApprovalRequest.objects.select_related("decision").filter(pk=request_id).first()
    return AlreadyClosed(request) if request else UnknownRequest(f"No approval request has the id {request_id}.")


def extend(request_id: UUID, *, seconds: int, by: User, source: Source) -> ApprovalRequest:
    """Give a pending request `seconds` more. Raises UnknownRequest, AlreadyClosed, InvalidDecision."""
    if seconds < 1:
        raise InvalidDecision(seconds="This must be a whole number of seconds, at least 1.")
    with transaction.atomic():
        row = _locked_pending(request_id).first()
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
            on_commit.announce(row.pk)
    if row is None:
        raise _too_late(request_id)
    logger.info("hitl_extended tool=%s request=%s seconds=%d by=%s", row.tool_name, row.pk, seconds, by.get_username())
    return row


def time_out(request_id: UUID) -> bool:
    """Close a request whose deadline has passed as `timeout_skip`; False if it is closed or on time.

    Does not wake waiters, so an unavailable Redis cannot delay a deadline: a holding worker enforces it itself, and
    the sweep resumes parked runs.
    """
    overdue = _overdue().filter(pk=request_id).select_for_update(no_key=True)
    return bool(close(overdue, Status.TIMEOUT_SKIP, operator_input=TIMEOUT_NOTE, source=Source.TIMEOUT))


def time_out_overdue() -> int:
    """Close every overdue request; returns how many. One whose row is locked is left for next time."""
    overdue = _overdue().order_by("timeout_at").select_for_update(no_key=True, skip_locked=True)
    overdue = overdue.defer("arguments", "model_arguments", "args_schema", "context")[:BATCH]
    return len(close(overdue, Status.TIMEOUT_SKIP, operator_input=TIMEOUT_NOTE, source=Source.TIMEOUT))


def _overdue() -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(status=Status.PENDING, timeout_at__lte=Now())


def mark_delivered(request_id: UUID) -> None:
    """Note that the outcome of a request has had its effect on its run."""
    ApprovalRequest.objects.filter(pk=request_id, settled_at=None).update(settled_at=Now())


def _no_fields(row: ApprovalRequest) -> dict[str, Any]:
    return {}


def close(
    requests: QuerySet[ApprovalRequest],
    status: Status,
    decision_fields: Callable[[ApprovalRequest], dict[str, Any]] = _no_fields,
    **fields: Any,
) -> list[Decision]:
    """Close those of the requests that are pending, which are locked as they are read, each with its Decision.

    `decision_fields` gives what an approval lets run: its seal and arguments. What it raises is raised before any row
    changes.
    """
    with transaction.atomic(savepoint=False):
        rows = list(requests.annotate(now=Now()))
        if not rows:
            return []
        own_fields = [decision_fields(row) for row in rows]
        still = ApprovalRequest.objects.filter(pk__in=[row.pk for row in rows], status=Status.PENDING)
        still.update(status=status, closed_at=rows[0].now)
        for row in rows:
            row.status, row.closed_at = status, row.now
        decisions = [
            Decision(request=row, decision=status, **fields, **own) for row, own in zip(rows, own_fields, strict=True)
        ]
        for decision in Decision.objects.bulk_create(decisions):
            on_commit.log(decision.request, decision)
            on_commit.announce(decision.request.pk)
        return decisions

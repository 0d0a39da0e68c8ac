"""What a card shows of a request: enough to decide the short ones where they stand, and to choose among the others."""

import json
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Case, F, JSONField, QuerySet, TextField, When
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Cast, Length, Now
from django.http import Http404

from aip.core.admin_pages import narrow, pretty
from aip.core.text import visible
from hitl.console.base import DECIDE
from hitl.labels import LABELS, OUTCOME, PLACES, decision_of
from hitl.models import ApprovalRequest, Decision, Source, Status
from hitl.seal import Arguments

# Arguments that are longer, in characters of JSON or in lines, are shown in part; their request cannot be approved
# before it was opened.
CARD_CHARACTERS = 600
CARD_LINES = 12
# What a page reads of a row only when it shows it.
LONG = ("arguments", "model_arguments", "args_schema", "context", "output")


def cards(user: User, requests: QuerySet[ApprovalRequest]) -> list[dict[str, Any]]:
    """One statement, and of long arguments no more than the card's part."""
    is_short = When(characters__lte=CARD_CHARACTERS, then=F("arguments"))
    rows = (
        requests.select_related("decision")
        .defer(*LONG)
        .annotate(now=Now(), outcome_word=OUTCOME, characters=Length(Cast("arguments", TextField())))
        .annotate(order=KeyTransform("required", "args_schema"))
        .annotate(short=Case(is_short, output_field=JSONField()), start=pretty("arguments", CARD_CHARACTERS))
    )
    return [_card(user, row) for row in rows]


def card(user: User, request_id: UUID) -> dict[str, Any]:
    """Raises Http404."""
    found = cards(user, ApprovalRequest.objects.filter(pk=request_id))
    if not found:
        raise Http404("There is no such approval request.")
    return found[0]


def _card(user: User, row: Any) -> dict[str, Any]:
    left = (row.timeout_at - row.now).total_seconds()
    is_open = row.status == Status.PENDING and left > 0
    decision = decision_of(row)
    arguments = None if row.short is None else _pairs(row.short, row.order)
    is_cut = arguments is None or sum(1 + value.count("\n") for _, value in arguments) > CARD_LINES
    return {
        "request": row,
        "tool": visible(row.tool_name),
        "agent": visible(row.agent_name),
        "arguments": arguments,
        "start": narrow(visible(row.start[:CARD_CHARACTERS])),
        "is_cut": is_cut,
        "seconds_left": max(0, left),
        "age_seconds": max(0, (row.now - row.created_at).total_seconds()),
        "can_decide": is_open and user.has_perm(DECIDE),
        "is_closed": not is_open,
        "closing": closing(row, decision),
        "what": what(row),
        "decision": decision,
        "note": "" if decision.source == Source.TIMEOUT else visible(decision.operator_input),
        "reason": visible(row.reason),
    }


def _pairs(arguments: Arguments, order: Any) -> list[tuple[str, str]]:
    """Names and values; what the tool requires comes first, in its order."""
    first = [name for name in order if name in arguments] if isinstance(order, list) else []
    names = [*first, *(name for name in arguments if name not in first)]
    return [(visible(name), _value(arguments[name])) for name in names]


def _value(value: Any) -> str:
    """An argument on one card: a text as it is, anything else as JSON."""
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def closing(row: Any, decision: Decision) -> str:
    """Who closed it, and from where; the page adds when."""
    if decision.is_of_runs_limit:
        return "Its run failed at its own limit of time, before anybody had decided"
    match row.status:
        case Status.PENDING | Status.TIMEOUT_SKIP:
            return "Nobody decided in time, so the step was skipped"
        case Status.CANCELLED:
            return "Cancelled, because its run ended or its tool was deleted"
        case _:
            return f"{what(row)} by {visible(decision.decided_by_name)} {PLACES[decision.source]}"


def what(row: Any) -> str:
    """The decision, as people read it; what is past its deadline cannot be decided any more."""
    return LABELS[Status.TIMEOUT_SKIP if row.outcome_word == Status.PENDING else row.outcome_word]

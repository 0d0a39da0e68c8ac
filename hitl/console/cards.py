"""What a card shows of a request: enough to decide the short ones in the inbox, and to choose among the others."""

import json
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Case, F, JSONField, QuerySet, TextField, When
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Cast, Length, Now
from django.http import Http404

from aip.core.admin_pages import narrow, pretty
from aip.core.annotated import WithAnnotations
from aip.core.text import look_alikes, visible
from hitl.console.argument_display import SET_BY
from hitl.console.base import DECIDE
from hitl.labels import LABELS, OUTCOME, SOURCE_LABELS, RequestWithOutcome, decision_of
from hitl.models import ApprovalRequest, Decision, Source, Status
from hitl.seal import Arguments

# Arguments that are longer, in characters of JSON or in lines, are shown in part; their request cannot be approved
# before it was opened.
CARD_CHARACTERS = 600
CARD_LINES = 12
# Columns that a page reads only when it shows them.
LONG = ("arguments", "model_arguments", "args_schema", "context", "output")


class CardColumns(TypedDict):
    """What a card reads beside the columns of its request."""

    now: datetime
    detailed_outcome: str
    characters: int
    required: Any
    short_arguments: Arguments | None
    beginning: str


CardRow = WithAnnotations[ApprovalRequest, CardColumns]


def cards(user: User, requests: QuerySet[ApprovalRequest]) -> list[dict[str, Any]]:
    """One statement, and of long arguments no more than the card's part."""
    is_short = When(characters__lte=CARD_CHARACTERS, then=F("arguments"))
    rows = (
        requests.select_related("decision")
        .defer(*LONG)
        .annotate(now=Now(), detailed_outcome=OUTCOME, characters=Length(Cast("arguments", TextField())))
        .annotate(required=KeyTransform("required", "args_schema"))
        .annotate(
            short_arguments=Case(is_short, output_field=JSONField()), beginning=pretty("arguments", CARD_CHARACTERS)
        )
    )
    return [_card(user, row) for row in rows]


def read_card(user: User, request_id: UUID) -> dict[str, Any]:
    """Raises Http404."""
    found = cards(user, ApprovalRequest.objects.filter(pk=request_id))
    if not found:
        raise Http404("There is no such approval request.")
    return found[0]


def _card(user: User, row: CardRow) -> dict[str, Any]:
    left = (row.timeout_at - row.now).total_seconds()
    is_open = row.status == Status.PENDING and left > 0
    decision = decision_of(row)
    arguments = None if row.short_arguments is None else _pairs(row.short_arguments, row.required)
    defaults = [(visible(name), _value(value)) for name, value in _left_out(row).items()]
    settings = [
        (visible(name), _value(entry["value"]), SET_BY[entry["set_by"]]) for name, entry in row.shown_settings.items()
    ]
    beside = [value for _, value in defaults] + [value for _, value, _ in settings]
    is_cut = arguments is None or not _fits_a_card([value for _, value in arguments], beside)
    return {
        "request": row,
        "tool": visible(row.tool_name),
        "agent": visible(row.agent_name),
        "arguments": arguments,
        "defaults": defaults,
        "settings": settings,
        "warning": visible(row.warning),
        "look_alikes": look_alikes(
            row.tool_name, row.agent_name, row.beginning, *(value for _, value in defaults), *(s[1] for s in settings)
        ),
        "beginning": narrow(visible(row.beginning[:CARD_CHARACTERS])),
        "is_cut": is_cut,
        "seconds_left": max(0, left),
        "age_seconds": max(0, (row.now - row.created_at).total_seconds()),
        "can_decide": is_open and user.has_perm(DECIDE),
        "is_closed": not is_open,
        "closing": closing_line(row, decision),
        "outcome": outcome_label(row),
        "decision": decision,
        "note": "" if decision.source == Source.TIMEOUT else visible(decision.operator_input),
        "reason": visible(row.reason),
    }


def _left_out(row: CardRow) -> Arguments:
    """The tool's own values with which it runs; without those of a call that is too long for a card."""
    return {} if row.short_arguments is None else row.defaults_beside(row.short_arguments)


def _fits_a_card(asked: list[str], beside: list[str]) -> bool:
    """Whether all of a call can be read on its card; what stands beside the arguments has as much room as they have."""
    lines = sum(1 + value.count("\n") for value in [*asked, *beside])
    return lines <= CARD_LINES and sum(map(len, beside)) <= CARD_CHARACTERS


def _pairs(arguments: Arguments, required: Any) -> list[tuple[str, str]]:
    """Names and values; what the tool requires comes first, in its order."""
    first = [name for name in required if name in arguments] if isinstance(required, list) else []
    names = [*first, *(name for name in arguments if name not in first)]
    return [(visible(name), _value(arguments[name])) for name in names]


def _value(value: Any) -> str:
    """An argument on one card: a text as it is, anything else as JSON."""
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def closing_line(row: CardRow, decision: Decision) -> str:
    """Who closed it, and from where; the page adds when."""
    if decision.is_of_runs_limit:
        return "Its run failed at its own limit of time, before anybody had decided"
    match row.status:
        case Status.PENDING | Status.TIMEOUT_SKIP:
            return "Nobody decided in time, so the step was skipped"
        case Status.CANCELLED:
            return "Cancelled, because its run ended or its tool was deleted"
        case _:
            return f"{outcome_label(row)} by {visible(decision.decided_by_name)} {SOURCE_LABELS[decision.source]}"


def outcome_label(row: RequestWithOutcome) -> str:
    """The decision, as people read it; what is past its deadline cannot be decided any more."""
    return LABELS[Status.TIMEOUT_SKIP if row.detailed_outcome == Status.PENDING else row.detailed_outcome]

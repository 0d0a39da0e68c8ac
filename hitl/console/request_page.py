"""The page of one request: everything that is needed to decide it, whole."""

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from aip.core.text import look_alikes, visible
from hitl.argument_schema import required
from hitl.console.argument_display import DisplayedArgument, displayed, displayed_defaults, displayed_settings
from hitl.console.argument_form import ArgumentField, fields
from hitl.console.base import may_view, render_page
from hitl.console.cards import outcome_label, read_card
from hitl.console.diff import differences
from hitl.console.forms import MORE_TIME, REASONS
from hitl.console.inbox import Filters, later_than
from hitl.console.precedents import changes_since, code_changes, earlier_decisions
from hitl.labels import SOURCE_LABELS, RequestWithOutcome
from hitl.models import ApprovalRequest

Named = TypeVar("Named", DisplayedArgument, ArgumentField)
# LangChain's names for the senders of messages.
ROLES = {"human": "Person", "ai": "Agent", "tool": "Tool", "system": "System", "left out": "Left out"}


@require_safe
def detail(request: HttpRequest, request_id: UUID) -> HttpResponse:
    return detail_page(request, request_id)


def detail_page(
    request: HttpRequest, request_id: UUID, *, status: int = 200, problem: str = "", **more: Any
) -> HttpResponse:
    """`more` is what was typed, shown again when it was refused."""
    found = read_card(may_view(request), request_id)
    row = ApprovalRequest.objects.select_related("decision").get(pk=request_id)
    filters = Filters(request.GET)
    run_ends_at, found["seconds_left"] = _runs_limit(row, found["seconds_left"])
    is_editing = request.GET.get("act") == "edit" and found["can_decide"]
    inputs = fields(row.args_schema, row.arguments, defaults=row.tool_defaults)
    shown = {
        "fields": required_first(row.args_schema, displayed(row.args_schema, row.arguments)),
        "defaults": displayed_defaults(row.args_schema, row.defaults_beside(row.to_run)),
        "settings": displayed_settings(row.shown_settings),
    }
    texts = [text for each in shown.values() for field in each for text in (field.name, field.text)]
    found["look_alikes"] = look_alikes(row.tool_name, row.agent_name, *texts)
    context = {
        "title": "Request",
        "card": found,
        "problem": problem,
        "query": filters.query,
        "act": request.GET.get("act", ""),
        "inputs": with_original_values(row, inputs) if is_editing else [],
        "is_editing": is_editing,
        "reasons": REASONS,
        "more_time": MORE_TIME,
        "run_ends_at": run_ends_at,
        "ends_with_run": run_ends_at is not None and run_ends_at < row.timeout_at,
        "answer": visible(found["decision"].answer or ""),
        "output": visible(row.output or ""),
        "call_id": visible(row.tool_call_id),
        "decided_from": SOURCE_LABELS.get(found["decision"].source, ""),
        "client_run_id": visible(found["decision"].client_run_id),
        **shown,
        "code_changes": [] if found["is_closed"] else code_changes(row),
        "extensions": list(row.extensions.all()),
        "typed": request.POST,
        "edited": differences(row.asked_arguments, row.to_run),
        "precedent": None if found["is_closed"] else _precedent(row),
        "earlier": [_earlier(each) for each in earlier_decisions(row)],
        **_background(row),
        **neighbours(filters, row),
    }
    return render_page(request, "hitl/detail.html", status=status, **context | more)


def with_original_values(row: ApprovalRequest, inputs: list[ArgumentField]) -> list[tuple[ArgumentField, str]]:
    """The fields of the form, each with the value of its input before any edit."""
    asked = {field.name: field.value for field in fields(row.args_schema, row.arguments)}
    return [(field, asked[field.name]) for field in required_first(row.args_schema, inputs)]


def required_first(schema: dict[str, Any], named: list[Named]) -> list[Named]:
    """Required arguments first, in the tool's own order: PostgreSQL keeps the order of lists, not that of objects."""
    order = required(schema)
    return sorted(named, key=lambda each: order.index(each.name) if each.name in order else len(order))


def _runs_limit(row: ApprovalRequest, seconds_left: float) -> tuple[datetime | None, float]:
    """When the run ends at the latest, if it has a limit; and the time that is left, which ends with the run."""
    text = row.context.get("run_ends_at", "")
    if not text:
        return None, seconds_left
    ends_at = datetime.fromisoformat(text)
    return ends_at, max(0, min(seconds_left, seconds_left + (ends_at - row.timeout_at).total_seconds()))


def _background(row: ApprovalRequest) -> dict[str, Any]:
    """What the request kept of its agent, its run and what led to it."""
    kept = row.context
    return {
        "about": visible(kept.get("tool_description", "")),
        "version": visible(kept.get("agent_version", "")),
        "instruction": visible(kept.get("instruction", "")),
        "requester": visible(row.requester),
        "leader": visible(kept.get("leader", "")),
        "conversation": conversation(kept),
    }


def conversation(kept: dict[str, Any]) -> list[dict[str, str]]:
    """What led to the call. A sub-agent's task comes from its leader and not from a person."""
    leader = kept.get("leader")
    roles = ROLES | ({"human": visible(f"The agent {leader}")} if leader else {})
    messages = kept.get("conversation", [])
    return [{"role": roles.get(m["role"], m["role"]), "text": visible(m["content"])} for m in messages]


def _precedent(row: ApprovalRequest) -> dict[str, Any] | None:
    last = changes_since(row)
    if last is None:
        return None
    return {
        "request": last.request,
        "changes": last.changes,
        "by": visible(last.request.decision.decided_by_name),
    }


def _earlier(row: RequestWithOutcome) -> dict[str, Any]:
    decision = row.decision
    return {
        "request": row,
        "outcome": outcome_label(row),
        "by": visible(decision.decided_by_name),
        "note": visible(decision.operator_input),
    }


def neighbours(filters: Filters, row: ApprovalRequest) -> dict[str, Any]:
    """The requests before and after this one in the line."""
    line = filters.requests().only("pk", "timeout_at")
    before = line.filter(timeout_at__lte=row.timeout_at).exclude(timeout_at=row.timeout_at, pk__gte=row.pk)
    return {
        "previous": before.order_by("-timeout_at", "-id").first(),
        "next": later_than(line, row.timeout_at, row.pk).first(),
    }

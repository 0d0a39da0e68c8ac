"""Approval requests in the admin, with what led to them and what became of them."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from aip.admin import (
    LIST_CHARACTERS,
    LongTableAdmin,
    Panel,
    RecentFilter,
    badge,
    block,
    column,
    cut,
    has_id,
    json_block,
    link,
    pretty,
    read,
    when,
)
from hitl.models import ApprovalRequest, Decision, Execution, Status

NO_DECISION = Decision()
STATUS_COLOURS: dict[str, str] = {
    Status.PENDING: "warning",
    Status.APPROVED: "success",
    Status.REJECTED: "danger",
    Status.SKIPPED: "info",
}
EXECUTION_COLOURS: dict[str, str] = {
    Execution.STARTED: "info",
    Execution.FINISHED: "success",
    Execution.FAILED: "danger",
    Execution.UNKNOWN: "warning",
}


class ToolFilter(RecentFilter):
    title = "tool"
    parameter_name = "tool_name"


class AgentFilter(RecentFilter):
    title = "agent"
    parameter_name = "agent_id"
    label = "agent_name"


def decision_of(request: ApprovalRequest) -> Decision:
    decision: Decision = getattr(request, "decision", NO_DECISION)
    return decision


def conversation(request: ApprovalRequest) -> SafeString:
    """The messages that led to the call."""
    messages = request.context.get("conversation", [])
    return format_html_join(
        "", '<p class="font-semibold">{}</p>{}', ((message["role"], block(message["content"])) for message in messages)
    )


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(LongTableAdmin):
    list_display = ["tool", "summary", "agent", "state", "opened", "deadline", "decided"]
    list_filter = ["status", ToolFilter, AgentFilter, "execution", "created_at"]
    list_select_related = ["decision"]
    search_fields = ["id"]
    search_help_text = "Id of a request or a run"
    ordering = ["-created_at"]
    fieldsets = [
        (None, {"fields": ["state", "tool_link", "agent_link", "run_link", "opened", "deadline", "closed"]}),
        ("The call", {"fields": ["short_seal", "round", "reason"]}),
        ("Decision", {"fields": ["decided", "source", "note", "client_run_id"]}),
        ("Execution", {"fields": ["execution_state", "execution_started", "execution_ended"]}),
    ]

    tool = column("tool", lambda r: cut(r.tool_name))
    summary = column("arguments", lambda r: cut(r.first))
    agent = column("agent", lambda r: cut(r.agent_name))
    state = column("status", lambda r: badge(r.status, STATUS_COLOURS))
    opened = column("opened", lambda r: when(r.created_at), ordering="created_at")
    deadline = column("deadline", lambda r: when(r.timeout_at))
    short_seal = column("seal", lambda r: r.short_seal)
    reason = column("asked again", lambda r: block(r.reason) if r.reason else "-")
    round = column("round", lambda r: r.round)
    closed = column("closed", lambda r: when(r.closed_at))
    tool_link = column("tool", lambda r: link("agents_tool", r.tool_id, r.tool_name))
    agent_link = column("agent", lambda r: link("agents_agent", r.agent_id, r.agent_name))
    run_link = column("run", lambda r: link("agents_run", r.run_id, r.run_id))
    decided = column("decided by", lambda r: cut(decision_of(r).decided_by_name or decision_of(r).source))
    source = column("from", lambda r: cut(decision_of(r).source))
    note = column("note", lambda r: block(decision_of(r).operator_input))
    client_run_id = column("client's run id", lambda r: cut(decision_of(r).client_run_id))
    execution_state = column("execution", lambda r: badge(r.execution, EXECUTION_COLOURS))
    execution_started = column("started", lambda r: when(r.execution_started_at))
    execution_ended = column("ended", lambda r: when(r.execution_ended_at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        requests: QuerySet[Any] = super().get_queryset(request)
        # The first arguments, for the list; the page of one request reads the long texts itself.
        shown: QuerySet[Any] = requests.annotate(first=pretty("arguments", 2 * LIST_CHARACTERS))
        return shown.defer("arguments", "context", "output")

    def found(self, term: str) -> Q:
        return has_id(term) | has_id(term, "run_id")

    def panels(self, request: HttpRequest, obj: ApprovalRequest) -> Iterator[Panel]:
        texts = read(obj, arguments=pretty("arguments"), output="output")
        yield Panel("Arguments", json_block(texts["arguments"]))
        if obj.output is not None:
            yield Panel("Output", block(texts["output"]))
        yield Panel("What led to it", conversation(obj), is_open=False)
        names = [
            "id",
            "run_id",
            "agent_id",
            "tool_id",
            "tool_version",
            "tool_call_id",
            "checkpoint_ns",
            "round",
            "seal",
        ]
        facts = "\n".join(f"{name:14} {getattr(obj, name)}" for name in names)
        yield Panel("Fingerprints", block(facts), is_open=False)

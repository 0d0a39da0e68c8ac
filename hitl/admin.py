"""The history: every past request, with what led to it, who decided it and what became of it."""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from aip.core.admin_pages import (
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
    read_texts,
    refuse_nul,
    table,
    when,
)
from aip.core.annotated import WithAnnotations
from aip.core.db import borrowed_connection
from hitl.console import csv_export
from hitl.console.diff import Change, differences
from hitl.console.request_page import conversation
from hitl.labels import (
    APPROVED_WITH_CHANGES,
    ARGUMENTS_ASKED,
    ARGUMENTS_RUN,
    LABELS,
    OUTCOME,
    SOURCE_LABELS,
    OutcomeColumns,
    RequestWithOutcome,
    decision_of,
)
from hitl.models import ANSWERED, ApprovalRequest, Decision, Execution, Source, Status
from hitl.seal import Arguments
from hitl.templatetags.humanize_seconds import seconds

# What the list shows of an edit.
CHANGES_SHOWN = 3
LIST_CHANGE_CHARACTERS = 60
OUTCOME_COLOURS = {
    LABELS[Status.PENDING]: "warning",
    LABELS[Status.APPROVED]: "success",
    LABELS[APPROVED_WITH_CHANGES]: "success",
    LABELS[ANSWERED]: "info",
    LABELS[Status.REJECTED]: "danger",
    LABELS[Status.SKIPPED]: "info",
}
EXECUTION_COLOURS: dict[str, str] = {
    Execution.STARTED: "info",
    Execution.FINISHED: "success",
    Execution.FAILED: "danger",
    Execution.NOT_RUN: "warning",
    Execution.UNKNOWN: "warning",
}


class OutcomeFilter(admin.SimpleListFilter):
    title = "decision"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(outcome), label) for outcome, label in LABELS.items() if outcome != Status.PENDING]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(detailed_outcome=self.value()) if self.value() else queryset


class SourceFilter(admin.SimpleListFilter):
    title = "from"
    parameter_name = "decision__source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(source), label) for source, label in SOURCE_LABELS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(decision__source=self.value()) if self.value() else queryset


class DeciderFilter(RecentFilter):
    title = "decided by"
    parameter_name = "decision__decided_by_name"


class PastRequests(ChangeList):  # type: ignore[misc]  # unfold has no types
    """What waits is in the inbox."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[ApprovalRequest]:
        found: QuerySet[ApprovalRequest] = super().get_queryset(request, exclude_parameters)
        return found.filter(closed_at__isnull=False)


class ToolFilter(RecentFilter):
    title = "tool"
    parameter_name = "tool_name"


class AgentFilter(RecentFilter):
    title = "agent"
    parameter_name = "agent_id"
    label = "agent_name"


def outcome_badge(request: RequestWithOutcome) -> SafeString:
    return badge(LABELS[request.detailed_outcome], OUTCOME_COLOURS)


def note_of(decision: Decision) -> SafeString:
    """A person's words; the clock has none."""
    if decision.is_of_runs_limit:
        return cut("Its run failed at its own limit of time.")
    return block("" if decision.source == Source.TIMEOUT else decision.operator_input)


def conversation_block(request: ApprovalRequest) -> SafeString:
    """The messages that led to the call."""
    messages = conversation(request.context)
    return format_html_join("", '<p class="font-semibold">{}</p>{}', ((m["role"], block(m["text"])) for m in messages))


def changes_summary(changes: list[Change]) -> SafeString:
    """A difference, in short."""
    shown = changes[:CHANGES_SHOWN]
    more = f"and {len(changes) - len(shown)} more" if len(changes) > len(shown) else ""
    lines = ((cut(c.name, 40), _cut_or_none(c.before), _cut_or_none(c.after)) for c in shown)
    return format_html("{}{}", format_html_join("", "<div>{}: <del>{}</del> <ins>{}</ins></div>", lines), more)


def _block_or_absent(text: str | None) -> SafeString:
    return cut("absent") if text is None else block(text)


def _cut_or_none(text: str | None) -> SafeString:
    return cut("absent" if text is None else text, LIST_CHANGE_CHARACTERS)


class HistoryColumns(OutcomeColumns):
    """What the history reads beside the columns of a request; both versions of its arguments only where they differ."""

    beginning: str
    arguments_asked: Arguments | None
    arguments_run: Arguments | None


HistoryRow = WithAnnotations[ApprovalRequest, HistoryColumns]


def edit_of(request: HistoryRow) -> list[Change]:
    """What the operator changed."""
    if request.arguments_asked is None or request.arguments_run is None:
        return []
    return differences(request.arguments_asked, request.arguments_run)


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(LongTableAdmin):
    list_display = ["tool", "summary", "agent", "outcome", "edited", "decided", "source", "closed", "took"]
    list_filter = [OutcomeFilter, ToolFilter, AgentFilter, DeciderFilter, SourceFilter, "execution", "closed_at"]
    list_before_template = "admin/history_export.html"
    list_select_related = ["decision"]
    search_fields = ["id"]
    search_help_text = "Id of a request or a run"
    ordering = ["-closed_at"]
    fieldsets = [
        (None, {"fields": ["outcome", "tool_link", "agent_link", "run_link", "opened", "deadline", "closed", "took"]}),
        ("The call", {"fields": ["short_seal", "round", "reason"]}),
        ("Decision", {"fields": ["decided", "source", "note", "client_run_id"]}),
        ("Execution", {"fields": ["execution_state", "execution_started", "execution_ended"]}),
    ]

    tool = column("tool", lambda r: cut(r.tool_name))
    summary = column("arguments", lambda r: cut(r.beginning))
    agent = column("agent", lambda r: cut(r.agent_name))
    outcome = column("decision", outcome_badge)
    edited = column("changed by the operator", lambda r: changes_summary(edit_of(r)))
    took = column("after", lambda r: seconds((r.closed_at - r.created_at).total_seconds()) if r.closed_at else "-")
    opened = column("opened", lambda r: when(r.created_at), ordering="created_at")
    deadline = column("deadline", lambda r: when(r.timeout_at))
    short_seal = column("seal", lambda r: r.short_seal)
    reason = column("asked again", lambda r: block(r.reason) if r.reason else "-")
    round = column("round", lambda r: r.round)
    closed = column("closed", lambda r: when(r.closed_at), ordering="closed_at")
    tool_link = column("tool", lambda r: link("agents_tool", r.tool_id, r.tool_name))
    agent_link = column("agent", lambda r: link("agents_agent", r.agent_id, r.agent_name))
    run_link = column("run", lambda r: link("agents_run", r.run_id, r.run_id))
    decided = column("decided by", lambda r: cut(decision_of(r).decided_by_name or "nobody"))
    source = column("from", lambda r: SOURCE_LABELS.get(decision_of(r).source, "-"))
    note = column("note", lambda r: note_of(decision_of(r)))
    client_run_id = column("client's run id", lambda r: cut(decision_of(r).client_run_id))
    execution_state = column("execution", lambda r: badge(r.execution, EXECUTION_COLOURS))
    execution_started = column("started", lambda r: when(r.execution_started_at))
    execution_ended = column("ended", lambda r: when(r.execution_ended_at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[HistoryRow]:
        requests: QuerySet[ApprovalRequest] = super().get_queryset(request)
        # The beginning of the arguments is for the list; the page of one request reads the long texts itself.
        shown = requests.annotate(
            beginning=pretty("arguments", 2 * LIST_CHARACTERS),
            arguments_asked=ARGUMENTS_ASKED,
            arguments_run=ARGUMENTS_RUN,
            detailed_outcome=OUTCOME,
        )
        return shown.defer("arguments", "model_arguments", "args_schema", "context", "output")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PastRequests]:
        return PastRequests

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "History", **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        return [path("export/", self.admin_site.admin_view(self.export), name="hitl_history_export"), *urls]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The list as it is filtered, all of it, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        refuse_nul(request)
        with borrowed_connection():  # a slow reader must not keep it
            try:
                found = self.get_changelist_instance(request).queryset
            except IncorrectLookupParameters:
                raise BadRequest("A filter has a value that cannot be.") from None
        headers = {"Content-Disposition": 'attachment; filename="history.csv"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(csv_export.export(found), content_type="text/csv; charset=utf-8", headers=headers)

    def found(self, term: str) -> Q:
        return has_id(term) | has_id(term, "run_id")

    def panels(self, request: HttpRequest, obj: HistoryRow) -> Iterator[Panel]:
        texts = read_texts(obj, arguments=pretty("arguments"), output="output")
        yield Panel("Arguments", json_block(texts["arguments"]))
        if defaults := obj.defaults_beside(obj.to_run):
            yield Panel("The tool's own defaults that it ran with", json_block(json.dumps(defaults, indent=2)))
        if obj.settings:
            yield Panel("Settings of the tool", json_block(json.dumps(obj.shown_settings, indent=2)))
        if changes := edit_of(obj):
            rows = ((cut(c.name), _block_or_absent(c.before), _block_or_absent(c.after)) for c in changes)
            yield Panel("Changed by the operator, and run so", table(["argument", "asked", "approved"], rows))
        if (answer := decision_of(obj).answer) is not None:
            yield Panel("Answered in the tool's place", block(answer))
        if obj.output is not None:
            yield Panel("Output", block(texts["output"]))
        yield Panel("What led to it", conversation_block(obj), is_open=False)
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

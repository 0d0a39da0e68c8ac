"""Runs and their events in the admin; a run can be cancelled there."""

from collections.abc import Callable, Iterator
from typing import Any, TypedDict
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Left
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from agents.models import ENDED, Agent, Run, RunEvent, RunFile, RunStatus
from agents.runs import lifecycle, resumption
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
    list_link,
    pretty,
    read_texts,
    table,
    when,
)
from aip.core.annotated import WithAnnotations
from aip.core.exceptions import Conflict
from hitl.admin import outcome_badge
from hitl.labels import OUTCOME
from hitl.models import ApprovalRequest

CANCEL = "agents.cancel_run"
RESUME = "agents.resume_run"
RUN_COLOURS: dict[str, str] = {
    RunStatus.RUNNING: "info",
    RunStatus.WAITING: "warning",
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "danger",
}
SHOWN = (
    "status",
    "attempt",
    "created_at",
    "started_at",
    "completed_at",
    "deadline_at",
    "resumptions",
    "resumable_until",
)
# A run's page shows its last events; the events' own list has them all, page by page.
EVENTS = 100
EVENT_CHARACTERS = 5000
REQUESTS = 50


class RunColumns(TypedDict):
    """What the list of runs reads beside their columns: the beginning of the input."""

    beginning: str


class EventColumns(TypedDict):
    """What a list shows of an event in place of its payload; `tool` is null where there is none."""

    kind: str
    tool: str
    beginning: str


RunRow = WithAnnotations[Run, RunColumns]
EventRow = WithAnnotations[RunEvent, EventColumns]


class AgentFilter(RecentFilter):
    title = "agent"
    parameter_name = "agent_id"
    label = "agent__name"


@admin.register(Run)
class RunAdmin(LongTableAdmin):
    change_form_template = "admin/run.html"
    list_display = ["key", "agent_name", "state", "asked", "created", "duration"]
    list_filter = ["status", AgentFilter, "created_at"]
    list_select_related = ["agent"]
    search_fields = ["id"]
    search_help_text = "Id, or the agent's name"
    ordering = ["-created_at"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "full_key",
                    "agent_link",
                    "state",
                    "attempt",
                    "created",
                    "started",
                    "completed",
                    "duration",
                    "deadline",
                    "resumptions",
                    "resumable",
                ]
            },
        )
    ]

    key = column("run", lambda r: str(r.pk)[:8])
    full_key = column("id", lambda r: r.pk)
    agent_name = column("agent", lambda r: cut(r.agent.name))
    agent_link = column("agent", lambda r: link("agents_agent", r.agent_id, r.agent.name))
    state = column("status", lambda r: badge(r.status, RUN_COLOURS))
    asked = column("input", lambda r: cut(r.beginning))
    created = column("created", lambda r: when(r.created_at), ordering="created_at")
    started = column("started", lambda r: when(r.started_at))
    completed = column("completed", lambda r: when(r.completed_at))
    deadline = column("ends at the latest", lambda r: when(r.deadline_at))
    resumable = column("can be resumed until", lambda r: when(r.resumable_until))
    duration = column(
        "took", lambda r: f"{(r.completed_at - r.created_at).total_seconds():.1f} s" if r.completed_at else "-"
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RunRow]:
        runs: QuerySet[Run] = super().get_queryset(request)
        runs = runs.select_related("agent").only("agent__name", *SHOWN)
        return runs.annotate(beginning=Left("input", 2 * LIST_CHARACTERS))

    def get_urls(self) -> list[URLPattern]:
        views = {"cancel": self.cancel, "resume": self.resume}
        ours = (
            path(f"<uuid:run_id>/{name}/", self.admin_site.admin_view(require_POST(view)), name=f"agents_run_{name}")
            for name, view in views.items()
        )
        return [*ours, *super().get_urls()]

    def cancel(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        if not request.user.has_perm(CANCEL):
            raise PermissionDenied("You may look at runs, but not cancel them. Ask an administrator.")
        return self._changed(request, run_id, lifecycle.cancel, "The run was cancelled.")

    def resume(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        if not request.user.has_perm(RESUME):
            raise PermissionDenied("You may look at runs, but not resume them. Ask an administrator.")
        return self._changed(request, run_id, resumption.resume, "The run was resumed.")

    def _changed(self, request: HttpRequest, run_id: UUID, verb: Callable[..., None], done: str) -> HttpResponse:
        get_object_or_404(Run.objects.only("pk"), pk=run_id)
        try:
            verb(run_id, by=request.user.get_username())
        except Conflict as e:
            messages.error(request, str(e))
        else:
            messages.success(request, done)
        return redirect("admin:agents_run_change", run_id)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        can = {
            "cancel": obj is not None and obj.status not in ENDED and request.user.has_perm(CANCEL),
            "resume": obj is not None and obj.resumable_until is not None and request.user.has_perm(RESUME),
        }
        for name, may in can.items():
            context[f"{name}_url"] = reverse(f"admin:agents_run_{name}", args=[obj.pk]) if may else ""
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def found(self, term: str) -> Q:
        return has_id(term) | Q(agent__in=Agent.objects.filter(name__icontains=term))

    def panels(self, request: HttpRequest, obj: Run) -> Iterator[Panel]:
        texts = read_texts(obj, input="input", config=pretty("config"), spec=pretty("spec"))
        yield Panel("Input", block(texts["input"]))
        if files := files_of(obj.pk):
            yield Panel("Files", files)
        if request.user.has_perm("hitl.view_approvalrequest"):
            yield Panel("Approval requests", requests_of(obj.pk))
        if request.user.has_perm("agents.view_runevent"):
            yield Panel("Events", events_of(obj.pk))
        yield Panel("Settings of this run alone", json_block(texts["config"]), is_open=False)
        yield Panel("What it was started with", json_block(texts["spec"]), is_open=False)


def files_of(run_id: UUID) -> SafeString | None:
    """The files that came with a run, without their contents; None where there are none."""
    files = RunFile.objects.filter(run=run_id).defer("content")
    rows = [
        (cut(f.name), cut(f.content_type), f"{f.size:,} bytes", "as text" if f.is_text else "cannot read it")
        for f in files
    ]
    return table(["Name", "Type", "Size", "The model"], rows) if rows else None


def requests_of(run_id: UUID) -> SafeString:
    requests = ApprovalRequest.objects.filter(run_id=run_id).order_by("-created_at")
    shown = requests.annotate(beginning=pretty("arguments", 2 * LIST_CHARACTERS), detailed_outcome=OUTCOME)
    shown = shown.defer("arguments", "model_arguments", "args_schema", "context", "output")
    rows = [
        (
            link("hitl_approvalrequest", r.pk, r.tool_name),
            cut(r.beginning),
            outcome_badge(r),
            when(r.created_at),
        )
        for r in shown[:REQUESTS]
    ]
    note = f"The newest {REQUESTS} are shown." if len(rows) == REQUESTS else ""
    if not rows:
        return format_html("<p>{}</p>", "It asked nobody.")
    return format_html("<p>{}</p>{}", note, table(["Tool", "Arguments", "Status", "Opened"], rows))


def summarized(events: QuerySet[RunEvent]) -> QuerySet[EventRow]:
    """Events with what a list shows of each, and without their payloads."""
    return events.defer("payload").annotate(
        kind=KT("payload__metadata__kind"),
        tool=KT("payload__metadata__tool_info__name"),
        beginning=Coalesce(Left(KT("payload__content"), 2 * LIST_CHARACTERS), Value(""), output_field=TextField()),
    )


def events_of(run_id: UUID) -> SafeString:
    """The last events of a run, in their order. `seq` has no gaps, so the last one is their number."""
    newest = summarized(RunEvent.objects.filter(run=run_id)).annotate(
        pretty_payload=pretty("payload", EVENT_CHARACTERS)
    )
    events = list(newest.order_by("-seq")[:EVENTS])[::-1]
    total = events[-1].seq if events else 0
    note = f"Showing the last {len(events)} of {total:,} events. " if total > len(events) else ""
    lines = format_html_join(
        "",
        '<details class="aip-event border-t border-base-200 dark:border-base-800"><summary>{} · {} · {} {} {}</summary>'
        "{}</details>",
        (
            (
                link("agents_runevent", e.pk, f"#{e.seq}"),
                when(e.created_at),
                cut(e.kind),
                cut(e.tool or ""),
                cut(e.beginning),
                json_block(e.pretty_payload, EVENT_CHARACTERS),
            )
            for e in events
        ),
    )
    return format_html("<p>{}{}</p>{}", note, list_link("agents_runevent", "All events in pages", run=run_id), lines)


@admin.register(RunEvent)
class RunEventAdmin(LongTableAdmin):
    """Reached from a run, not from the menu."""

    list_display = ["number", "kind", "tool", "beginning", "created"]
    list_per_page = 200
    ordering = ["run", "seq"]
    fieldsets = [(None, {"fields": ["run_link", "number", "created"]})]

    number = column("event", lambda e: f"#{e.seq}")
    kind = column("kind", lambda e: cut(e.kind))
    tool = column("tool", lambda e: cut(e.tool or "-"))
    beginning = column("text", lambda e: cut(e.beginning))
    created = column("created", lambda e: when(e.created_at))
    run_link = column("run", lambda e: link("agents_run", e.run_id, e.run_id))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventRow]:
        return summarized(super().get_queryset(request))

    def panels(self, request: HttpRequest, obj: RunEvent) -> Iterator[Panel]:
        yield Panel("Payload", json_block(read_texts(obj, payload=pretty("payload"))["payload"]))

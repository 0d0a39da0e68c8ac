"""Agents, tools, runs and events in the admin."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from agents.models import Agent, AgentTool, Run, RunEvent, Status, Tool
from aip.admin import (
    LIST_CHARACTERS,
    LongTableAdmin,
    Panel,
    ReadOnlyAdmin,
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
from hitl.admin import STATUS_COLOURS as REQUEST_COLOURS
from hitl.models import ApprovalRequest

RUN_COLOURS: dict[str, str] = {
    Status.RUNNING: "info",
    Status.WAITING: "warning",
    Status.SUCCEEDED: "success",
    Status.FAILED: "danger",
}
# A run's page shows its last events; the events' own list has them all, page by page.
EVENTS = 100
EVENT_CHARACTERS = 5000
REQUESTS = 50


class LivingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "in use"), ("yes", "deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(deleted_at__isnull=self.value() == "no") if self.value() else queryset


class AgentFilter(RecentFilter):
    title = "agent"
    parameter_name = "agent_id"
    label = "agent__name"


def alive(row: Agent | Tool) -> SafeString:
    return badge("deleted", {"deleted": "danger"}) if row.deleted_at else badge("in use", {"in use": "success"})


def table(headings: list[str], rows: Any) -> SafeString:
    """Cells that are safe already or are escaped here."""
    lines = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((c,) for c in r)),) for r in rows)
    )
    head = format_html_join("", '<th scope="col">{}</th>', ((heading,) for heading in headings))
    return format_html('<table class="aip-rows"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', head, lines)


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    list_display = ["title", "tool_names", "language_model", "alive", "created"]
    list_filter = [LivingFilter, "created_at"]
    search_fields = ["name"]
    search_help_text = "Name or id"
    ordering = ["-created_at"]
    fieldsets = [
        (None, {"fields": ["title", "key", "summary", "language_model", "alive", "created", "updated", "all_runs"]})
    ]

    title = column("name", lambda a: cut(a.name))
    key = column("id", lambda a: a.pk)
    summary = column("description", lambda a: block(a.description or ""))
    tool_names = column("tools", lambda a: cut(", ".join(entry.tool.name for entry in a.agent_tools.all()) or "-"))
    language_model = column("model", lambda a: cut(a.lm_name or a.language_model_id or "the server's default"))
    alive = column("state", alive)
    created = column("created", lambda a: when(a.created_at), ordering="created_at")
    updated = column("updated", lambda a: when(a.updated_at))
    all_runs = column("runs", lambda a: listed("agents_run", "Runs of this agent", agent_id=a.pk))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        agents: QuerySet[Any] = super().get_queryset(request)
        entries = AgentTool.objects.select_related("tool").only("agent", "position", "tool__name", "tool__deleted_at")
        shown: QuerySet[Any] = (
            agents.annotate(lm_name=KT("agent_config__lm_name"))
            .defer("instruction", "agent_config", "tool_configs", "mcp_configs", "metadata", "skills", "a2a_profile")
            .prefetch_related(Prefetch("agent_tools", entries))
        )
        return shown

    def found(self, term: str) -> Q:
        return has_id(term) | Q(name__icontains=term)

    def panels(self, request: HttpRequest, obj: Agent) -> Iterator[Panel]:
        json = ["agent_config", "tool_configs", "mcp_configs", "metadata", "skills", "a2a_profile"]
        texts = read(obj, instruction="instruction", **{field: pretty(field) for field in json})
        yield Panel("Instruction", block(texts["instruction"]))
        tools = [entry.tool for entry in obj.agent_tools.all()]
        yield Panel("Tools", table(["Tool", "State"], [(link("agents_tool", t.pk, t.name), alive(t)) for t in tools]))
        for field in json:
            yield Panel(field.replace("_", " ").capitalize(), json_block(texts[field]), is_open=field == "agent_config")


def listed(page: str, text: str, **filters: object) -> SafeString:
    """A link to a list, filtered."""
    url = reverse(f"admin:{page}_changelist", query=filters)
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)


@admin.register(Tool)
class ToolAdmin(ReadOnlyAdmin):
    list_display = ["title", "call_name", "summary", "alive", "created"]
    list_filter = [LivingFilter, "created_at"]
    list_select_related = ["current"]
    search_fields = ["name"]
    search_help_text = "Name or id"
    ordering = ["-created_at"]
    fieldsets = [
        (None, {"fields": ["title", "key", "summary", "alive", "created"]}),
        ("Current version", {"fields": ["call_name", "class_name", "file_name", "digest", "uploaded"]}),
    ]

    title = column("name", lambda t: cut(t.name))
    key = column("id", lambda t: t.pk)
    summary = column("description", lambda t: cut(t.description))
    alive = column("state", alive)
    created = column("created", lambda t: when(t.created_at), ordering="created_at")
    call_name = column("called by the model as", lambda t: cut(t.current.tool_name))
    class_name = column("class", lambda t: cut(t.current.class_name))
    file_name = column("file", lambda t: cut(t.current.file_name))
    digest = column("SHA-256", lambda t: cut(t.current.digest))
    uploaded = column("uploaded", lambda t: when(t.current.created_at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tools: QuerySet[Any] = super().get_queryset(request)
        return tools.select_related("current").defer("current__source", "current__args_schema", "current__description")

    def found(self, term: str) -> Q:
        return has_id(term) | Q(name__icontains=term)

    def panels(self, request: HttpRequest, obj: Tool) -> Iterator[Panel]:
        version = obj.current
        texts = read(version, source="source", description="description", schema=pretty("args_schema"))
        yield Panel("Source", block(texts["source"]))
        yield Panel("What it tells the model", block(texts["description"]))
        yield Panel("Schema of the arguments", json_block(texts["schema"]), is_open=False)


@admin.register(Run)
class RunAdmin(LongTableAdmin):
    list_display = ["key", "agent_name", "state", "asked", "created", "duration"]
    list_filter = ["status", AgentFilter, "created_at"]
    list_select_related = ["agent"]
    search_fields = ["id"]
    search_help_text = "Id, or the agent's name"
    ordering = ["-created_at"]
    fieldsets = [
        (
            None,
            {"fields": ["full_key", "agent_link", "state", "attempt", "created", "started", "completed", "duration"]},
        )
    ]

    key = column("run", lambda r: str(r.pk)[:8])
    full_key = column("id", lambda r: r.pk)
    agent_name = column("agent", lambda r: cut(r.agent.name))
    agent_link = column("agent", lambda r: link("agents_agent", r.agent_id, r.agent.name))
    state = column("status", lambda r: badge(r.status, RUN_COLOURS))
    asked = column("input", lambda r: cut(r.first))
    created = column("created", lambda r: when(r.created_at), ordering="created_at")
    started = column("started", lambda r: when(r.started_at))
    completed = column("completed", lambda r: when(r.completed_at))
    duration = column(
        "took", lambda r: f"{(r.completed_at - r.created_at).total_seconds():.1f} s" if r.completed_at else "-"
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        runs: QuerySet[Any] = super().get_queryset(request)
        runs = runs.select_related("agent").only(
            "agent__name", "status", "attempt", "created_at", "started_at", "completed_at"
        )
        shown: QuerySet[Any] = runs.annotate(first=Left("input", 2 * LIST_CHARACTERS))
        return shown

    def found(self, term: str) -> Q:
        return has_id(term) | Q(agent__in=Agent.objects.filter(name__icontains=term))

    def panels(self, request: HttpRequest, obj: Run) -> Iterator[Panel]:
        texts = read(obj, input="input", spec=pretty("spec"))
        yield Panel("Input", block(texts["input"]))
        if request.user.has_perm("hitl.view_approvalrequest"):
            yield Panel("Approval requests", requests_of(obj.pk))
        if request.user.has_perm("agents.view_runevent"):
            yield Panel("Events", events_of(obj.pk))
        yield Panel("What it was started with", json_block(texts["spec"]), is_open=False)


def requests_of(run_id: UUID) -> SafeString:
    requests = ApprovalRequest.objects.filter(run_id=run_id).select_related("decision").order_by("-created_at")
    shown = requests.annotate(first=pretty("arguments", 2 * LIST_CHARACTERS)).defer("arguments", "context", "output")
    rows = [
        (
            link("hitl_approvalrequest", r.pk, r.tool_name),
            cut(r.first),
            badge(r.status, REQUEST_COLOURS),
            when(r.created_at),
        )
        for r in shown[:REQUESTS]
    ]
    note = f"The newest {REQUESTS} are shown." if len(rows) == REQUESTS else ""
    if not rows:
        return format_html("<p>{}</p>", "It asked nobody.")
    return format_html("<p>{}</p>{}", note, table(["Tool", "Arguments", "Status", "Opened"], rows))


def told(events: QuerySet[RunEvent]) -> QuerySet[Any]:
    """Events with what a list says of each, and without their payloads."""
    return events.defer("payload").annotate(
        kind=KT("payload__metadata__kind"),
        tool=KT("payload__metadata__tool_info__name"),
        said=Coalesce(Left(KT("payload__content"), 2 * LIST_CHARACTERS), Value(""), output_field=TextField()),
    )


def events_of(run_id: UUID) -> SafeString:
    """The last events of a run, in their order. `seq` has no gaps, so the last one is their number."""
    newest = told(RunEvent.objects.filter(run=run_id)).annotate(text=pretty("payload", EVENT_CHARACTERS))
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
                cut(e.said),
                json_block(e.text, EVENT_CHARACTERS),
            )
            for e in events
        ),
    )
    return format_html("<p>{}{}</p>{}", note, listed("agents_runevent", "All events in pages", run=run_id), lines)


@admin.register(RunEvent)
class RunEventAdmin(LongTableAdmin):
    """Reached from a run, not from the menu."""

    list_display = ["number", "kind", "tool", "said", "created"]
    list_per_page = 200
    ordering = ["run", "seq"]
    fieldsets = [(None, {"fields": ["run_link", "number", "created"]})]

    number = column("event", lambda e: f"#{e.seq}")
    kind = column("kind", lambda e: cut(e.kind))
    tool = column("tool", lambda e: cut(e.tool or "-"))
    said = column("text", lambda e: cut(e.said))
    created = column("created", lambda e: when(e.created_at))
    run_link = column("run", lambda e: link("agents_run", e.run_id, e.run_id))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return told(super().get_queryset(request))

    def panels(self, request: HttpRequest, obj: RunEvent) -> Iterator[Panel]:
        yield Panel("Payload", json_block(read(obj, payload=pretty("payload"))["payload"]))

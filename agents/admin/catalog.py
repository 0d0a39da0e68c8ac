"""Agents and tools in the admin."""

from collections.abc import Iterator
from typing import Any, TypedDict
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from agents.catalog import tools as tool_catalog
from agents.models import Agent, AgentTool, Gate, Tool
from aip.core.admin_pages import (
    Panel,
    ReadOnlyAdmin,
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
from aip.core.exceptions import DomainError

CHANGE_TOOL = "agents.change_tool"


class AgentColumns(TypedDict):
    """What the list of agents reads beside their columns: the model's name in `agent_config`, which may be null."""

    lm_name: str


AgentRow = WithAnnotations[Agent, AgentColumns]


class LivingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "in use"), ("yes", "deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(deleted_at__isnull=self.value() == "no") if self.value() else queryset


def alive(row: Agent | Tool) -> SafeString:
    return badge("deleted", {"deleted": "danger"}) if row.deleted_at else badge("in use", {"in use": "success"})


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
    all_runs = column("runs", lambda a: list_link("agents_run", "Runs of this agent", agent_id=a.pk))

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentRow]:
        agents: QuerySet[Agent] = super().get_queryset(request)
        entries = AgentTool.objects.select_related("tool").only("agent", "position", "tool__name", "tool__deleted_at")
        return (
            agents.annotate(lm_name=KT("agent_config__lm_name"))
            .defer("instruction", "agent_config", "tool_configs", "mcp_configs", "metadata", "skills", "a2a_profile")
            .prefetch_related(Prefetch("agent_tools", entries))
        )

    def found(self, term: str) -> Q:
        return has_id(term) | Q(name__icontains=term)

    def panels(self, request: HttpRequest, obj: Agent) -> Iterator[Panel]:
        json = ["agent_config", "tool_configs", "mcp_configs", "metadata", "skills", "a2a_profile"]
        texts = read_texts(obj, instruction="instruction", **{field: pretty(field) for field in json})
        yield Panel("Instruction", block(texts["instruction"]))
        tools = [entry.tool for entry in obj.agent_tools.all()]
        subs = [entry.sub_agent for entry in obj.sub_agents.select_related("sub_agent")]
        if subs:
            rows = [(link("agents_agent", a.pk, a.name), alive(a)) for a in subs]
            yield Panel("Sub-agents", table(["Agent", "State"], rows))
        yield Panel("Tools", table(["Tool", "State"], [(link("agents_tool", t.pk, t.name), alive(t)) for t in tools]))
        for field in json:
            yield Panel(field.replace("_", " ").capitalize(), json_block(texts[field]), is_open=field == "agent_config")


@admin.register(Tool)
class ToolAdmin(ReadOnlyAdmin):
    change_form_template = "admin/tool.html"
    list_display = ["title", "call_name", "summary", "asks", "alive", "created"]
    list_filter = [LivingFilter, "gate", "created_at"]
    list_select_related = ["current"]
    search_fields = ["name"]
    search_help_text = "Name or id"
    ordering = ["-created_at"]
    fieldsets = [
        (None, {"fields": ["title", "key", "summary", "asks", "alive", "created"]}),
        ("Current version", {"fields": ["call_name", "class_name", "file_name", "digest", "uploaded"]}),
    ]

    title = column("name", lambda t: cut(t.name))
    key = column("id", lambda t: t.pk)
    summary = column("description", lambda t: cut(t.description))
    asks = column("waits for a person", lambda t: t.get_gate_display())
    alive = column("state", alive)
    created = column("created", lambda t: when(t.created_at), ordering="created_at")
    call_name = column("called by the model as", lambda t: cut(t.current.tool_name))
    class_name = column("class", lambda t: cut(t.current.class_name))
    file_name = column("file", lambda t: cut(t.current.file_name))
    digest = column("SHA-256", lambda t: cut(t.current.digest))
    uploaded = column("uploaded", lambda t: when(t.current.created_at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tool]:
        tools: QuerySet[Tool] = super().get_queryset(request)
        return tools.select_related("current").defer("current__source", "current__args_schema", "current__description")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.set_gate))
        return [path("<uuid:tool_id>/gate/", view, name="agents_tool_gate"), *super().get_urls()]

    def set_gate(self, request: HttpRequest, tool_id: UUID) -> HttpResponse:
        if not request.user.has_perm(CHANGE_TOOL):
            raise PermissionDenied("You may look at tools, but not change them. Ask an administrator.")
        gate = request.POST.get("gate", "")
        if gate not in Gate.values:
            raise BadRequest(f"There is no gate {gate!r}.")
        try:
            tool_catalog.change(str(tool_id), gate=gate)
        except DomainError as e:
            messages.error(request, str(e))
        else:
            messages.success(request, f"From the next run on its calls wait for a person {Gate(gate).label}.")
        return redirect("admin:agents_tool_change", tool_id)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        may = obj is not None and obj.deleted_at is None and request.user.has_perm(CHANGE_TOOL)
        context["gate_url"] = reverse("admin:agents_tool_gate", args=[obj.pk]) if may else ""
        context["gate"] = Gate.AGENT if may and obj.gate == Gate.ASK else Gate.ASK
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def found(self, term: str) -> Q:
        return has_id(term) | Q(name__icontains=term)

    def panels(self, request: HttpRequest, obj: Tool) -> Iterator[Panel]:
        version = obj.current
        texts = read_texts(version, source="source", description="description", schema=pretty("args_schema"))
        yield Panel("Source", block(texts["source"]))
        yield Panel("What it tells the model", block(texts["description"]))
        yield Panel("Schema of the arguments", json_block(texts["schema"]), is_open=False)

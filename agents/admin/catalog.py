"""Agents and tools in the admin."""

from collections.abc import Iterator
from typing import Any, TypedDict

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest
from django.utils.safestring import SafeString

from agents.models import Agent, AgentTool, Tool
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tool]:
        tools: QuerySet[Tool] = super().get_queryset(request)
        return tools.select_related("current").defer("current__source", "current__args_schema", "current__description")

    def found(self, term: str) -> Q:
        return has_id(term) | Q(name__icontains=term)

    def panels(self, request: HttpRequest, obj: Tool) -> Iterator[Panel]:
        version = obj.current
        texts = read_texts(version, source="source", description="description", schema=pretty("args_schema"))
        yield Panel("Source", block(texts["source"]))
        yield Panel("What it tells the model", block(texts["description"]))
        yield Panel("Schema of the arguments", json_block(texts["schema"]), is_open=False)

"""The JSON of tools, agents and runs: what comes in is checked here, what goes out has one shape."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents import configs, llm, roster, subagents
from agents.models import Agent, Tool
from aip.fields import Object, ShortList, StrictText

# More than any prompt; below the limit of a body.
MAX_TEXT = 4_000_000
G = TypeVar("G")
T = TypeVar("T")


class ToolSerializer(serializers.ModelSerializer[Tool]):
    account_id = serializers.SerializerMethodField()
    tool_type = serializers.SerializerMethodField()
    tool_file = serializers.CharField(source="current.file_name")
    tool_script = serializers.CharField(source="current.source")
    plugin_class_name = serializers.CharField(source="current.class_name")

    class Meta:
        model = Tool
        fields = [
            "id", "name", "account_id", "tool_type", "framework", "version", "description", "tags",
            "tool_file", "tool_script", "plugin_class_name", "created_at", "updated_at",
        ]  # fmt: skip

    def get_account_id(self, tool: Tool) -> str:
        return str(self.context["account_id"])

    def get_tool_type(self, tool: Tool) -> str:
        return "custom"


class ToolUploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(
        error_messages=dict.fromkeys(
            ("required", "invalid", "no_name"),
            "Send the tool's Python file, with a file name, in the multipart field 'file'.",
        ),
        allow_empty_file=True,
    )
    framework = serializers.CharField(default="langchain", max_length=50)
    name = serializers.CharField(required=False, max_length=255, allow_blank=True)
    version = serializers.CharField(default="1.0", max_length=50)
    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT)
    tags = serializers.CharField(required=False, allow_blank=True, max_length=10_000, help_text="Comma-separated")


class Reference(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class AgentSerializer(serializers.ModelSerializer[Agent]):
    """An agent on the wire: ids of tools come in, objects go out (contract 3.3)."""

    account_id = serializers.SerializerMethodField()
    tools = serializers.SerializerMethodField()
    agents = serializers.SerializerMethodField()
    mcps = serializers.SerializerMethodField()
    agent_config = serializers.SerializerMethodField()

    class Meta:
        model = Agent
        fields = [
            "id", "account_id", "name", "instruction", "description", "type", "framework", "version", "metadata",
            "tools", "agents", "mcps", "skills", "tool_configs", "mcp_configs", "agent_config", "a2a_profile",
            "language_model_id", "created_at", "updated_at", "deleted_at",
        ]  # fmt: skip

    def get_account_id(self, agent: Agent) -> str:
        return str(self.context["account_id"])

    @extend_schema_field(Reference(many=True))
    def get_tools(self, agent: Agent) -> list[dict[str, str]]:
        return [{"id": str(entry.tool_id), "name": entry.tool.name} for entry in agent.agent_tools.all()]

    @extend_schema_field(Reference(many=True))
    def get_agents(self, agent: Agent) -> list[dict[str, str]]:
        return [{"id": str(entry.sub_agent_id), "name": entry.sub_agent.name} for entry in agent.sub_agents.all()]

    @extend_schema_field(Reference(many=True))
    def get_mcps(self, agent: Agent) -> list[dict[str, str]]:
        return []

    def get_agent_config(self, agent: Agent) -> dict[str, Any]:
        """With the model's name in every case: the client sends what it reads here back with each update."""
        config: dict[str, Any] = agent.agent_config
        if agent.language_model_id:
            return config
        model = llm.of_agent(config, None)
        return {**config, "lm_provider": model.provider, "lm_name": model.name}


class AgentInputSerializer(serializers.Serializer[Any]):
    """What POST /agents/ takes (contract 3.2). Unknown fields are ignored."""

    name = StrictText(max_length=255)
    instruction = StrictText(
        required=False, allow_blank=True, allow_null=True, max_length=MAX_TEXT, trim_whitespace=False
    )
    type = StrictText(default="config", max_length=50)
    framework = StrictText(default="langchain", max_length=50)
    version = StrictText(default="1.0", max_length=50)
    description = StrictText(required=False, allow_blank=True, allow_null=True, max_length=MAX_TEXT)
    metadata = Object(required=False, allow_null=True)
    tools = ShortList(child=StrictText(), required=False, allow_null=True)
    agents = ShortList(
        child=StrictText(),
        required=False,
        allow_null=True,
        help_text="Ids of agents to which this one may give tasks: each is offered to its model as a tool",
    )
    mcps = ShortList(child=StrictText(), required=False, allow_null=True)
    tool_configs = Object(required=False, allow_null=True)
    mcp_configs = Object(required=False, allow_null=True)
    agent_config = Object(required=False, allow_null=True)
    skills = ShortList(child=Object(), required=False, allow_null=True)
    a2a_profile = Object(required=False, allow_null=True)
    language_model_id = StrictText(required=False, allow_null=True, max_length=255)
    provider = StrictText(required=False, allow_null=True, max_length=255)
    model_name = StrictText(required=False, allow_null=True, max_length=255)

    def validate_type(self, value: str) -> str:
        if value != "config":
            raise serializers.ValidationError("This server runs agents of the type 'config' alone; leave it out.")
        return value

    def validate_tools(self, value: list[str] | None) -> list[Tool]:
        given = value or []
        unknown = next((text for text in given if not roster.is_uuid(text)), None)
        ids = [] if unknown else list(dict.fromkeys(UUID(text) for text in given))
        found = Tool.objects.filter(deleted_at=None).select_related("current").in_bulk(ids)
        unknown = unknown or next((str(pk) for pk in ids if pk not in found), None)
        if unknown:
            raise serializers.ValidationError(f"There is no tool with the id {unknown}; upload it first.")
        tools = [found[pk] for pk in ids]
        names = [tool.current.tool_name for tool in tools]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise serializers.ValidationError(
                f"Two of these tools call themselves '{min(twice)}'; a model cannot tell them apart. Rename one."
            )
        return tools

    def validate_agents(self, value: list[str] | None) -> list[Agent]:
        of = self.instance.pk if self.instance is not None else None
        return _valid(lambda ids: subagents.chosen(ids, of=of), value or [])

    def validate_mcps(self, value: list[str] | None) -> None:
        if value:
            raise serializers.ValidationError(f"There is no MCP with the id {value[0]}; this server has none.")

    def validate_agent_config(self, value: dict[str, Any] | None) -> dict[str, Any]:
        _valid(configs.check_agent_config, value or {})
        return value or {}

    def validate_tool_configs(self, value: dict[str, Any] | None) -> dict[str, Any]:
        _valid(configs.check_tool_configs, value or {})
        return _valid(configs.by_tool_id, value or {})

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The client's `provider` and `model_name` are stored where they are read back from (contract, trap 14)."""
        _valid(lambda agents: subagents.check_names(attrs.get("tools") or [], agents), attrs.get("agents") or [])
        provider, name = attrs.pop("provider", None), attrs.pop("model_name", None)
        if bool(provider) != bool(name):
            raise serializers.ValidationError("Give both provider and model_name, or neither.")
        config = attrs.setdefault("agent_config", {})
        if provider and not attrs.get("language_model_id") and not config.get("language_model"):
            config.setdefault("lm_provider", provider)
            config.setdefault("lm_name", name)
        return attrs

    def fields_of_agent(self) -> dict[str, Any]:
        """The checked fields as `roster.create` takes them."""
        given = dict(self.validated_data)
        given["tools"] = given.get("tools") or []
        return {key: value for key, value in given.items() if key != "mcps" and value is not None}


class RunInputSerializer(serializers.Serializer[Any]):
    """What POST /agents/{id}/run takes (contract 3.4.1). Unknown fields are ignored."""

    input = StrictText(max_length=MAX_TEXT, trim_whitespace=False)
    chat_history = ShortList(child=Object(), default=list, allow_null=True)
    runtime_config = Object(default=dict, allow_null=True)

    def validate_chat_history(self, value: list[dict[str, Any]] | None) -> list[dict[str, str]]:
        roles = {"assistant": "assistant", "ai": "assistant", "system": "system"}
        for message in value or []:
            if not isinstance(message.get("content"), str):
                raise serializers.ValidationError('Each message is an object with the texts "role" and "content".')
        return [
            {"role": roles.get(str(message.get("role")), "user"), "content": message["content"]}
            for message in value or []
        ]

    def validate_runtime_config(self, value: dict[str, Any] | None) -> dict[str, Any]:
        given = {key: entry for key, entry in (value or {}).items() if entry is not None}
        for key in ("agent_config", "tool_configs"):
            if not isinstance(given.get(key, {}), dict):
                raise serializers.ValidationError(f"{key} must be an object.")
        return {**given, "tool_configs": _valid(configs.by_tool_id, given.get("tool_configs", {}))}


def _valid(check: Callable[[G], T], value: G) -> T:
    try:
        return check(value)
    except configs.Invalid as e:
        raise serializers.ValidationError(str(e)) from e

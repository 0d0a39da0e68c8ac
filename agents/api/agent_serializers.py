"""The JSON of agents: what comes in is checked here, what goes out has one shape."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.catalog import configs, gates, model_choice, model_names, names, subagents
from agents.catalog import tools as tool_catalog
from agents.models import Agent, Tool
from aip.core.fields import MAX_TEXT, Object, ShortList, StrictText, checked


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
        model = model_names.of_agent(config, None)
        return {**config, "lm_provider": model.provider, "lm_name": model.name}


class WrittenAgentSerializer(AgentSerializer):
    """An agent in the answer to who made or changed it, with what may not have been meant."""

    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="Gates that were removed or have no effect, keys that are misspelt"
    )
    ungated = serializers.ListField(
        child=serializers.CharField(), help_text="The tools that run unasked, by the names that the model calls"
    )

    class Meta(AgentSerializer.Meta):
        fields = [*AgentSerializer.Meta.fields, "warnings", "ungated"]


class AgentInputSerializer(serializers.Serializer[Any]):
    """What POST, PUT and PATCH of agents take (contract 3.2, 4.2). Unknown fields are ignored.

    The stored agent is the serializer's `instance`; `partial` for a PATCH.
    """

    name = StrictText(max_length=255)
    instruction = StrictText(
        required=False, allow_blank=True, allow_null=True, max_length=MAX_TEXT, trim_whitespace=False
    )
    type = StrictText(default="config", allow_null=True, max_length=50)
    framework = StrictText(default="langchain", allow_null=True, max_length=50)
    version = StrictText(default="1.0", allow_null=True, max_length=50)
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

    def validate_type(self, value: str | None) -> str | None:
        if value not in ("config", None):
            raise serializers.ValidationError("This server runs agents of the type 'config' alone; leave it out.")
        return value

    def validate_tools(self, value: list[str] | None) -> list[Tool]:
        return checked(tool_catalog.from_ids, value or [])

    def validate_agents(self, value: list[str] | None) -> list[Agent]:
        of = self.instance.pk if self.instance is not None else None
        return checked(lambda ids: subagents.from_ids(ids, of=of), value or [])

    def validate_mcps(self, value: list[str] | None) -> None:
        if value:
            raise serializers.ValidationError(f"There is no MCP with the id {value[0]}; this server has none.")

    def validate_agent_config(self, value: dict[str, Any] | None) -> dict[str, Any] | None:
        checked(configs.check_agent_config, value or {})
        return value

    def validate_tool_configs(self, value: dict[str, Any] | None) -> dict[str, Any]:
        checked(configs.check_tool_configs, value or {})
        return checked(configs.by_tool_id, value or {})

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        checked(self._check_names, attrs)
        checked(lambda data: model_choice.normalize(data, self.instance, partial=self.partial), attrs)
        if self.partial and self.instance is not None:
            gates.keep(attrs, self.instance)
        return attrs

    def _check_names(self, attrs: dict[str, Any]) -> None:
        """Check the tools and sub-agents together, including those that a PATCH does not change."""
        stored = self.instance if self.partial else None
        tools = attrs.get("tools", names.tools_of(stored) if stored else [])
        agents = attrs.get("agents", subagents.of(stored) if stored else [])
        names.check_names(tools or [], agents or [])

    def fields_of_agent(self) -> dict[str, Any]:
        """The arguments of the catalog's `create` and `change`; null stands for the default of the model's field."""
        fields = {key: value for key, value in self.validated_data.items() if key != "mcps"}
        if not self.partial:
            fields = dict.fromkeys(FIELDS) | fields
        for key in {"tools", "agents"} & fields.keys():
            fields[key] = fields[key] or []
        new = Agent()
        return {key: getattr(new, key) if value is None else value for key, value in fields.items()}


FIELDS = (
    "instruction", "description", "type", "framework", "version", "metadata", "tools", "agents",
    "tool_configs", "mcp_configs", "agent_config", "skills", "a2a_profile", "language_model_id",
)  # fmt: skip

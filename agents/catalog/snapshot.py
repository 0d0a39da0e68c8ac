"""What a run is started with, frozen: the agent's settings merged with the run's own, and each tool's version."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from agents.catalog import agents as agent_catalog
from agents.catalog import configs, model_choice, model_names, names, subagents, tool_settings
from agents.catalog.toolspec import ToolSpec
from agents.models import Agent, AgentTool, Tool, ToolVersion
from aip.core.db import one_moment
from aip.core.exceptions import Invalid

Spec = dict[str, Any]


def freeze(agent_id: str, runtime_config: dict[str, Any]) -> Spec:
    """The spec of a run of an agent, with that of each sub-agent inside its leader's. Raises NotFound, Invalid.

    A sub-agent has its own settings and what `runtime_config` says under its own id. Everything is read in one
    snapshot of the database: tools from after a change beside `tool_configs` from before it would run without their
    gates.
    """
    try:
        with one_moment():
            agent = agent_catalog.living(agent_id)
            sub_agents = subagents.of(agent)
            team = {agent.pk: sub_agents}
            if sub_agents:
                team |= subagents.check(agent.pk, sub_agents)
            tools = _tools(team)
        override = configs.merged(runtime_config, _entry_of(agent, runtime_config))
        return _freeze(agent, override, team, tools, runtime_config)
    except (Invalid, names.NamesClash) as e:
        # Without a `runtime_config` the agent itself does not fit together any more.
        raise Invalid({"runtime_config": str(e)} if runtime_config else str(e)) from e


def _tools(team: subagents.Team) -> dict[UUID, list[Tool]]:
    """The tools of each agent, in its order: one statement for all."""
    tools: dict[UUID, list[Tool]] = {pk: [] for pk in team}
    entries = AgentTool.objects.filter(agent__in=tools, tool__deleted_at=None).select_related("tool__current")
    for entry in entries.order_by("agent", "position"):
        tools[entry.agent_id].append(entry.tool)
    return tools


def _freeze(
    agent: Agent,
    override: dict[str, Any],
    team: subagents.Team,
    tools: dict[UUID, list[Tool]],
    runtime_config: dict[str, Any],
) -> Spec:
    overrides = override.get("agent_config") or {}
    agent_config = configs.merged(model_choice.without_overridden_model(agent.agent_config, overrides), overrides)
    by_run = configs.by_tool_id(override.get("tool_configs") or {})
    tool_configs = configs.merged(agent.tool_configs, by_run)
    configs.check_agent_config(agent_config)
    configs.check_tool_configs(tool_configs)
    names.check_names(tools[agent.pk], team[agent.pk])
    return {
        "agent_id": str(agent.pk),
        "agent_name": agent.name,
        "agent_version": agent.version,
        "instruction": agent.instruction,
        "model": model_names.of_agent(agent_config, agent.language_model_id).as_spec(),
        "tools": [
            _freeze_tool(tool, agent_config, tool_configs.get(str(tool.pk)) or {}, by_run.get(str(tool.pk)) or {})
            for tool in tools[agent.pk]
        ],
        "agents": [
            _freeze(sub, _entry_of(sub, runtime_config), team, tools, runtime_config)
            | {"tool_name": names.tool_name(sub), "description": sub.description or ""}
            for sub in team[agent.pk]
        ],
        "timeout_seconds": agent_config.get("timeout_seconds"),
    }


def _entry_of(agent: Agent, runtime_config: dict[str, Any]) -> dict[str, Any]:
    """What `runtime_config` says under the agent's own id, however that is spelled (contract 3.4.1). Raises Invalid."""
    found = [value for key, value in runtime_config.items() if _is_id_of(key, agent.pk)]
    if len(found) > 1:
        raise Invalid(f"It names the agent {agent.pk} twice; name it once.")
    for entry in found:
        parts = (
            [entry.get(key) or {} for key in ("agent_config", "tool_configs")] if isinstance(entry, dict) else [None]
        )
        if not all(isinstance(part, dict) for part in parts):
            raise Invalid(f"{agent.pk} must be an object with agent_config and tool_configs, which are objects.")
    return found[0] if found else {}


def _is_id_of(key: str, agent_id: UUID) -> bool:
    try:
        return UUID(key.strip()) == agent_id
    except ValueError:
        return False


def _freeze_tool(tool: Tool, agent_config: dict[str, Any], config: dict[str, Any], by_run: dict[str, Any]) -> Spec:
    """`config` is what agent and run say of the tool, `by_run` the part of it that the run says."""
    version: ToolVersion = tool.current
    fields = {key: value for key, value in config.items() if key not in configs.RESERVED}
    covered = fields | {key: config[key] for key in tool_settings.COVERED if key in config}
    frozen = ToolSpec(
        id=tool.pk,
        version_id=version.pk,
        digest=version.digest,
        name=version.tool_name,
        class_name=version.class_name,
        description=version.description,
        args_schema=version.args_schema,
        fields=fields,
        settings=tool_settings.record(covered, by_run=by_run, secrets=version.manifest.get("secrets", [])),
        hitl_timeout_seconds=configs.hitl_timeout(agent_config, config, tool.gate),
        timeout_seconds=config.get("timeout_seconds", configs.TOOL_TIMEOUT_SECONDS),
        idempotent=config.get("idempotent", False),
        destructive=config.get("destructive", False),
        object_name=version.object_name,
        manifest=version.manifest,
    )
    return asdict(frozen) | {"id": str(frozen.id), "version_id": str(frozen.version_id)}


def thaw(tool: Spec) -> ToolSpec:
    """The tool of a spec. One that was frozen before settings were shown has them shown as its agent's."""
    older = {} if "settings" in tool else {"settings": tool_settings.record(tool["fields"], by_run=(), secrets=())}
    return ToolSpec(**{**tool, **older, "id": UUID(tool["id"]), "version_id": UUID(tool["version_id"])})

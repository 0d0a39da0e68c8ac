"""What a run is started with, frozen: the agent's settings merged with the run's own, and each tool's version."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from agents import configs, llm, model_choice, roster
from agents.engine import ToolSpec
from agents.models import Agent, ToolVersion

Spec = dict[str, Any]


def freeze(agent: Agent, runtime_config: dict[str, Any]) -> Spec:
    """Raises configs.Invalid."""
    runtime_config = configs.merged(runtime_config, _entry_of(agent, runtime_config))
    override = runtime_config.get("agent_config") or {}
    agent_config = configs.merged(model_choice.open_to(override, agent.agent_config), override)
    overrides = configs.by_tool_id(runtime_config.get("tool_configs") or {})
    tool_configs = configs.merged(agent.tool_configs, overrides)
    configs.check_agent_config(agent_config)
    configs.check_tool_configs(tool_configs)
    return {
        "agent_name": agent.name,
        "instruction": agent.instruction,
        "model": llm.of_agent(agent_config, agent.language_model_id).as_spec(),
        "tools": [
            _freeze_tool(tool, agent_config, tool_configs.get(str(tool.pk)) or {}) for tool in roster.tools_of(agent)
        ],
        "timeout_seconds": agent_config.get("timeout_seconds"),
    }


def _entry_of(agent: Agent, runtime_config: dict[str, Any]) -> dict[str, Any]:
    """What `runtime_config` says under the agent's own id (contract 3.4.1)."""
    found = [value for key, value in runtime_config.items() if key.strip().lower() == str(agent.pk)]
    for entry in found:
        parts = (
            [entry.get(key) or {} for key in ("agent_config", "tool_configs")] if isinstance(entry, dict) else [None]
        )
        if not all(isinstance(part, dict) for part in parts):
            raise configs.Invalid(
                f"{agent.pk} must be an object with agent_config and tool_configs, which are objects."
            )
    return found[0] if found else {}


def _freeze_tool(tool: Any, agent_config: dict[str, Any], config: dict[str, Any]) -> Spec:
    version: ToolVersion = tool.current
    frozen = ToolSpec(
        id=tool.pk,
        version_id=version.pk,
        digest=version.digest,
        name=version.tool_name,
        class_name=version.class_name,
        description=version.description,
        args_schema=version.args_schema,
        fields={key: value for key, value in config.items() if key not in configs.RESERVED},
        hitl_timeout_seconds=configs.hitl_timeout(agent_config, config),
        timeout_seconds=config.get("timeout_seconds", configs.TOOL_TIMEOUT_SECONDS),
        idempotent=config.get("idempotent", False),
    )
    return asdict(frozen) | {"id": str(frozen.id), "version_id": str(frozen.version_id)}


def thaw(tool: Spec) -> ToolSpec:
    return ToolSpec(**{**tool, "id": UUID(tool["id"]), "version_id": UUID(tool["version_id"])})

"""Gates that do not fall off by accident: what a PATCH keeps, what a deleted tool leaves, what a change warns of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from agents.catalog import configs
from agents.models import Agent, AgentTool, Gate

MAX_NAMED = 20

# One pass over the entries of `tool_configs`, which keep the ids of tools that were deleted.
GATED_BEFORE = """
    WITH old AS (
        SELECT tool.id::text AS id, tool.gate FROM agents_tool AS tool
        JOIN agents_toolversion AS version ON version.id = tool.current_id
        WHERE tool.deleted_at IS NOT NULL AND (tool.name = %s OR version.tool_name = %s)
    )
    SELECT EXISTS (SELECT FROM old WHERE gate = 'ask') OR EXISTS (
        SELECT FROM agents_agent AS agent
        CROSS JOIN LATERAL jsonb_each(agent.tool_configs) AS entry
        JOIN old ON old.id = entry.key
        WHERE agent.deleted_at IS NULL AND agent.agent_config @> '{"hitl_enabled": true}'
        AND jsonb_typeof(entry.value -> 'hitl') = 'object'
    )
"""


def of_replaced(name: str, tool_name: str) -> Gate:
    """The gate of a new tool: `ask` where a deleted one of its name, or of its name for the model, was gated."""
    with connection.cursor() as cursor:
        cursor.execute(GATED_BEFORE, [name, tool_name])
        return Gate.ASK if cursor.fetchone() == (True,) else Gate.AGENT


def keep(given: dict[str, Any], stored: Agent) -> None:
    """Put into the fields of a PATCH the gates that it does not speak of. An explicit `false` or `null` takes one."""
    if "agent_config" in given and "hitl_enabled" in stored.agent_config:
        switch = {"hitl_enabled": stored.agent_config["hitl_enabled"]}
        given["agent_config"] = switch | (given["agent_config"] or {})
    if "tool_configs" in given:
        tool_configs = given["tool_configs"] or {}
        for tool_id in _gates(stored):
            if (entry := tool_configs.get(tool_id, {})) is not None:
                tool_configs[tool_id] = {"hitl": stored.tool_configs[tool_id]["hitl"]} | entry
        given["tool_configs"] = tool_configs


@dataclass(frozen=True)
class Called:
    """A tool of an agent: the name by which the model calls it, and its own gate."""

    name: str
    gate: str


def tools_of(agent: Agent) -> dict[str, Called]:
    """An agent's tools by id, in their order, without their code."""
    entries = AgentTool.objects.filter(agent=agent, tool__deleted_at=None)
    rows = entries.values_list("tool_id", "tool__current__tool_name", "tool__gate")
    return {str(tool_id): Called(name, gate) for tool_id, name, gate in rows}


def ungated(agent: Agent, tools: dict[str, Called]) -> list[str]:
    """The tools whose calls run unasked."""
    return [
        tool.name
        for tool_id, tool in tools.items()
        if configs.hitl_timeout(agent.agent_config, agent.tool_configs.get(tool_id) or {}, tool.gate) is None
    ]


def warnings(before: Agent | None, after: Agent, tools: dict[str, Called]) -> list[str]:
    """What whoever has changed an agent, or made it, may not have meant."""
    has_switch = after.agent_config.get("hitl_enabled") is True
    left = _gates(after)
    found = []
    if before and before.agent_config.get("hitl_enabled") is True and not has_switch:
        found.append(
            "agent_config.hitl_enabled was true and is so no more: gates in tool_configs have no effect. "
            "Send it as true to have their calls wait for a person."
        )
    if gone := [tool_id for tool_id in (_gates(before) if before else []) if tool_id not in left]:
        found.append(
            f"These gates were removed: {_named(gone, tools)}. "
            "Send them again, or give the tool the gate 'ask', to have their calls wait for a person."
        )
    idle = [tool_id for tool_id in left if tool_id not in tools or tools[tool_id].gate != Gate.ASK]
    if idle and not has_switch:
        found.append(
            f"These gates have no effect without agent_config.hitl_enabled: true: {_named(idle, tools)}. "
            "The calls run unasked."
        )
    return found


def _gates(agent: Agent) -> list[str]:
    """The ids of the tools for which an agent has a gate, whatever its master switch says."""
    return [tool_id for tool_id, entry in agent.tool_configs.items() if configs.has_gate(entry)]


def _named(ids: Iterable[str], tools: dict[str, Called]) -> str:
    texts = [f"tool_configs.{i}.hitl" + (f" ({tools[i].name})" if i in tools else "") for i in ids]
    more = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")

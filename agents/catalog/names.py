"""The names under which a model calls the tools and sub-agents of its agent. It has to tell them apart."""

import re
from collections.abc import Iterable

from agents.models import Agent, AgentTool, SubAgent, Tool
from agents.sandbox.manifest import MAX_TOOL_NAME
from aip.core.exceptions import Conflict

NO_TOOL_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class NamesClash(Conflict):
    """Two tools or sub-agents of one agent have the same name for its model; names them."""


def tool_name(agent: Agent) -> str:
    """The name under which a model calls an agent: its own, as far as a tool may be named so."""
    return NO_TOOL_NAME.sub("_", agent.name).strip("_")[:MAX_TOOL_NAME] or f"agent_{str(agent.pk)[:8]}"


def tools_of(agent: Agent) -> list[Tool]:
    """The tools that an agent has, in their order, each with its current version."""
    entries = AgentTool.objects.filter(agent=agent, tool__deleted_at=None).select_related("tool__current")
    return [entry.tool for entry in entries]


def check_names(tools: Iterable[Tool], agents: Iterable[Agent] = ()) -> None:
    """Raises NamesClash where a model could not tell these tools and sub-agents of one agent apart."""
    taken: dict[str, str] = {}
    for tool in tools:
        name = tool.current.tool_name
        if name in taken:
            raise NamesClash(
                f"Two of these tools call themselves '{name}'; a model cannot tell them apart. Rename one."
            )
        taken[name] = f"the tool {tool.name}"
    for agent in agents:
        name = tool_name(agent)
        if name in taken:
            raise NamesClash(
                f"The sub-agent {agent.name} would be called '{name}', as {taken[name]} is; "
                "a model cannot tell them apart. Rename one."
            )
        taken[name] = f"the sub-agent {agent.name}"


def check_new_name(tool: Tool, new_name: str) -> None:
    """Raises NamesClash where a living agent that has `tool` already calls something else `new_name`."""
    alike = AgentTool.objects.filter(tool__current__tool_name=new_name, tool__deleted_at=None).exclude(tool=tool)
    having = AgentTool.objects.filter(tool=tool, agent__deleted_at=None)
    agent = having.filter(agent__in=alike.values("agent")).values_list("agent__name", flat=True).first()
    if agent is not None:
        raise NamesClash(
            f"The agent {agent!r} has another tool that calls itself '{new_name}'; a model could not tell them apart. "
            "Rename the class's tool, or take one of them from the agent."
        )
    led = SubAgent.objects.filter(agent__in=having.values("agent"), sub_agent__deleted_at=None)
    for entry in led.select_related("agent", "sub_agent"):
        if tool_name(entry.sub_agent) == new_name:
            raise NamesClash(
                f"The agent {entry.agent.name!r} has the sub-agent {entry.sub_agent.name!r}, which is called "
                f"'{new_name}' as well; a model could not tell them apart. Rename the class's tool, or take one of "
                "them from the agent."
            )

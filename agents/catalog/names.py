"""A model has to tell the tools of its agent apart."""

from collections.abc import Iterable

from agents.models import Agent, AgentTool, Tool


class NamesClash(Exception):
    """Two tools of one agent call themselves alike, and a model could not tell them apart; names them."""


def tools_of(agent: Agent) -> list[Tool]:
    """The tools that an agent has, in their order, each with its current version."""
    entries = AgentTool.objects.filter(agent=agent, tool__deleted_at=None).select_related("tool__current")
    return [entry.tool for entry in entries]


def check_names(tools: Iterable[Tool]) -> None:
    """Raises NamesClash."""
    names = [tool.current.tool_name for tool in tools]
    if twice := {name for name in names if names.count(name) > 1}:
        raise NamesClash(
            f"Two of these tools call themselves '{min(twice)}'; a model cannot tell them apart. Rename one."
        )

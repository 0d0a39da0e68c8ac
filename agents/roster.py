"""Create and find agents: the only writer of Agent."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from rest_framework.exceptions import NotFound

from agents.models import Agent, AgentTool, Installation, SubAgent, Tool


def account_id() -> UUID:
    return Installation.objects.values_list("pk", flat=True).get()


def make_installation(**kwargs: Any) -> None:
    """The one row, with its random id, after the first migration."""
    Installation.objects.get_or_create(only=True)


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def all_living() -> QuerySet[Agent]:
    """Agents that are not deleted, newest first, with tools and sub-agents: four statements whatever their number."""
    tools = Prefetch("agent_tools", AgentTool.objects.select_related("tool").filter(tool__deleted_at=None))
    subs = Prefetch("sub_agents", SubAgent.objects.select_related("sub_agent").filter(sub_agent__deleted_at=None))
    return Agent.objects.filter(deleted_at=None).prefetch_related(tools, subs).order_by("-created_at", "id")


def living(agent_id: str) -> Agent:
    """Raises NotFound, also for an id that is no UUID."""
    agent = all_living().filter(pk=agent_id).first() if is_uuid(agent_id) else None
    if agent is None:
        raise NotFound(f"There is no agent with the id {agent_id[:100]}.")
    return agent


def create(*, tools: list[Tool], agents: list[Agent] | None = None, **fields: Any) -> Agent:
    with transaction.atomic():
        agent = Agent.objects.create(**fields)
        AgentTool.objects.bulk_create(
            AgentTool(agent=agent, tool=tool, position=position) for position, tool in enumerate(tools)
        )
        SubAgent.objects.bulk_create(
            SubAgent(agent=agent, sub_agent=sub, position=position) for position, sub in enumerate(agents or [])
        )
    return living(str(agent.pk))

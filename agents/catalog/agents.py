"""Create, find, change and delete agents: the only writer of Agent and, beside `tools`, of an agent's tools."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Func, Prefetch, QuerySet, TextField, Value
from django.db.models.functions import Now
from django.db.models.lookups import Exact

from agents.catalog import subagents
from agents.catalog.names import check_names, tools_of
from agents.models import Agent, AgentTool, Installation, SubAgent, Tool
from aip.core.exceptions import Conflict, Invalid
from aip.core.ids import find, is_uuid, no_such


@cache
def account_id() -> UUID:
    """Constant. Read it before a write: an error after the commit would make the client retry the write."""
    return Installation.objects.values_list("pk", flat=True).get()


def make_installation(**kwargs: Any) -> None:
    """The one row, with its random id, after the first migration."""
    Installation.objects.get_or_create(only=True)


def listed(*, include_deleted: bool) -> QuerySet[Agent]:
    """Agents, newest first, with their tools and sub-agents: three statements whatever their number."""
    tools = AgentTool.objects.select_related("tool").filter(tool__deleted_at=None)
    shown = Prefetch("agent_tools", tools.only("agent", "position", "tool__name"))
    subs = Prefetch("sub_agents", SubAgent.objects.select_related("sub_agent").filter(sub_agent__deleted_at=None))
    agents = Agent.objects.all() if include_deleted else Agent.objects.filter(deleted_at=None)
    return agents.prefetch_related(shown, subs).order_by("-created_at", "id")


def search(*, include_deleted: bool, metadata: dict[str, str], **lookups: Any) -> QuerySet[Agent]:
    """The agents, as `listed`, for which all lookups hold, and whose metadata has these texts."""
    agents = listed(include_deleted=include_deleted).filter(**lookups)
    for key, text in metadata.items():
        # Not Django's own key transform, which takes a key of digits for an index of an array.
        entry = Func(F("metadata"), Value(key), function="jsonb_extract_path_text", output_field=TextField())
        agents = agents.filter(Exact(entry, text))
    return agents


def living(agent_id: str) -> Agent:
    """Raises NotFound."""
    return find(listed(include_deleted=False), "agent", agent_id)


@contextmanager
def account_locked() -> Iterator[None]:
    """A transaction that has the account to itself: agents get and lose tools, and tools their names, one at a time.

    So no agent comes to have two tools of one name, or itself as a sub-agent, by two requests that do not see each
    other.
    """
    with transaction.atomic():
        Installation.objects.select_for_update().get()
        account_id()
        yield


@contextmanager
def editing(agent_id: str) -> Iterator[Agent]:
    """A transaction in which nobody else changes a living agent. Raises NotFound."""
    with account_locked():
        yield living(agent_id)


def create(*, tools: list[Tool], agents: Sequence[Agent] = (), **fields: Any) -> Agent:
    with transaction.atomic():
        agent = Agent.objects.create(**fields)
        _give_tools(agent, tools)
        _give_agents(agent, agents)
    return living(str(agent.pk))


def change(agent: Agent, *, tools: list[Tool] | None = None, agents: list[Agent] | None = None, **fields: Any) -> Agent:
    """Change an agent for its later runs, within `editing`; the whole agent. Tools and agents are replaced if given."""
    Agent.objects.filter(pk=agent.pk).update(**fields, updated_at=Now())
    if tools is not None:
        AgentTool.objects.filter(agent=agent).delete()
        _give_tools(agent, tools)
    if agents is not None:
        SubAgent.objects.filter(agent=agent).delete()
        _give_agents(agent, agents)
    return living(str(agent.pk))


def _give_agents(agent: Agent, agents: Sequence[Agent]) -> None:
    SubAgent.objects.bulk_create(
        SubAgent(agent=agent, sub_agent=sub, position=position) for position, sub in enumerate(agents)
    )


def _give_tools(agent: Agent, tools: list[Tool]) -> None:
    AgentTool.objects.bulk_create(
        AgentTool(agent=agent, tool=tool, position=position) for position, tool in enumerate(tools)
    )


def delete(agent_id: str) -> None:
    """Its runs go on, and stay to be read; its name is free. Raises NotFound."""
    deleted = is_uuid(agent_id) and Agent.objects.filter(pk=agent_id, deleted_at=None).update(deleted_at=Now())
    if not deleted:
        raise no_such("agent", agent_id)


def restore(agent_id: str) -> Agent:
    """A deleted agent as it was, without the tools that are gone; one that is not deleted as it is.

    Raises NotFound, and Conflict if it no longer fits with its tools and the other agents.
    """
    with account_locked():
        agent = find(listed(include_deleted=True), "agent", agent_id)
        if agent.deleted_at is not None:
            check_names(tools_of(agent))
            Agent.objects.filter(pk=agent.pk).update(deleted_at=None, updated_at=Now())
            try:
                subagents.check_again(agent)
            except Invalid as e:
                raise Conflict(str(e)) from e
        return living(agent_id)

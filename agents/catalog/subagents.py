"""Which agents an agent may give tasks to: without cycles, not too deep, each under the name of a tool."""

from uuid import UUID

from agents.catalog.names import check_names, tools_of
from agents.models import Agent, SubAgent
from aip.core.exceptions import Invalid
from aip.core.ids import find_all

# Levels of agents, the one that is run included. Each is a part of its calls' `checkpoint_ns`, of which events' keys
# hold five.
MAX_LEVELS = 5
# Agents of one run, each counted as often as a way leads to it.
MAX_AGENTS = 100

Team = dict[UUID, list[Agent]]


def of(agent: Agent) -> list[Agent]:
    """An agent's living sub-agents, in its order; without a statement if they were prefetched."""
    return [entry.sub_agent for entry in agent.sub_agents.all() if entry.sub_agent.deleted_at is None]


def from_ids(ids: list[str], *, of: UUID | None) -> list[Agent]:
    """The agents of these ids, as the sub-agents of the agent `of`, which may be new. Raises Invalid."""
    agents = find_all(Agent.objects.filter(deleted_at=None), "agent", ids, "create it first")
    check(of, agents)
    return agents


def check(agent_id: UUID | None, agents: list[Agent]) -> Team:
    """The sub-agents of each agent below one that has these, all the way down. Raises Invalid.

    Whoever changes an agent below may make the tree too deep later; it is checked again when a run starts.
    """
    team = _below(agents)
    left = MAX_AGENTS

    def walk(sub_agents: list[Agent], above: tuple[UUID | None, ...]) -> None:
        nonlocal left
        for agent in sub_agents:
            left -= 1
            if agent.pk in above:
                raise Invalid(f"The agent {agent.name} would be its own sub-agent, directly or through others.")
            if len(above) == MAX_LEVELS:
                raise Invalid(f"Sub-agents may be nested {MAX_LEVELS - 1} deep; {agent.name} would be deeper.")
            if left < 0:
                raise Invalid(f"An agent may have {MAX_AGENTS} sub-agents, those of its sub-agents included.")
            walk(team.get(agent.pk, []), (*above, agent.pk))

    walk(agents, (agent_id,))
    return team


def check_again(agent: Agent) -> None:
    """Whether an agent that is restored still fits with its sub-agents, and with the agents that it is one of.

    Raises Invalid, NamesClash.
    """
    check(agent.pk, of(agent))
    for each in (agent, *Agent.objects.filter(sub_agents__sub_agent=agent, deleted_at=None)):
        check_names(tools_of(each), of(each))


def _below(agents: list[Agent]) -> Team:
    """One statement per level."""
    team: Team = {}
    level = {agent.pk for agent in agents}
    while level and len(team) <= MAX_AGENTS:
        team |= {pk: [] for pk in level}
        entries = SubAgent.objects.filter(agent__in=level, sub_agent__deleted_at=None).select_related("sub_agent")
        for entry in entries.order_by("agent", "position"):
            team[entry.agent_id].append(entry.sub_agent)
        level = {sub.pk for pk in level for sub in team[pk]} - team.keys()
    return team

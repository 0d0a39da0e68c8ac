"""What a run freezes: an agent as it was at one moment, and what `runtime_config` says of it."""

from typing import Any

import pytest
from django.db import connection

from agents.catalog import agents as agent_catalog
from agents.catalog import snapshot
from agents.catalog import tools as tool_catalog
from agents.models import Agent, Tool
from aip.core.exceptions import Invalid
from tests.agents.runs import BeforeStatement, upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def gates(*tools: Tool) -> dict[str, Any]:
    return {str(tool.pk): {"hitl": {"timeout_seconds": 60}} for tool in tools}


def asking(name: str, tools: list[Tool], agents: list[Agent] | None = None) -> Agent:
    config = {"hitl_enabled": True}
    return agent_catalog.create(
        name=name, tools=tools, agents=agents or [], agent_config=config, tool_configs=gates(*tools)
    )


def test_an_agent_whose_tools_are_replaced_while_a_run_begins_has_each_of_them_gated() -> None:
    old, new = upload("old"), upload("new")
    agent = asking("worker", [old])
    top = asking("leader", [], [agent])
    frozen_tools: list[str] = []

    for which in (agent, top):
        for number in range(1, 12):
            before, after = (old, new) if number % 2 else (new, old)

            def replace(after: Tool = after) -> None:
                with agent_catalog.editing(str(agent.pk)) as now:
                    agent_catalog.change(now, tools=[after], tool_configs=gates(after))

            with connection.execute_wrapper(BeforeStatement(number, replace)):
                spec = snapshot.freeze(str(which.pk), {})
            (tool,) = (spec if which is agent else spec["agents"][0])["tools"]
            assert tool["hitl_timeout_seconds"] == 60, f"{tool['name']}, with a change before statement {number}"
            assert tool["name"] in (before.name, after.name)
            frozen_tools.append(tool["name"])
    assert set(frozen_tools) == {"old", "new"}


@pytest.mark.parametrize(
    ("agent_config", "tool_config", "runtime", "seconds"),
    [
        ({}, {}, {}, 300),
        ({"hitl_enabled": False}, {"hitl": {"timeout_seconds": 60}}, {}, 60),
        ({"hitl_enabled": True}, {"hitl": {"timeout_seconds": 60}}, {"hitl": {"timeout_seconds": 7}}, 7),
        ({"hitl_enabled": True}, {"hitl": {"timeout_seconds": 60}}, {"hitl": None}, 300),
        ({"hitl_enabled": True}, None, None, 300),
    ],
)
def test_a_tool_that_always_asks_is_gated_whatever_agent_and_run_say(
    agent_config: dict[str, Any], tool_config: Any, runtime: Any, seconds: float
) -> None:
    tool = tool_catalog.change(str(upload("asking").pk), gate="ask")
    agent = agent_catalog.create(
        name="worker", tools=[tool], agent_config=agent_config, tool_configs={str(tool.pk): tool_config}
    )
    off = {"agent_config": {"hitl_enabled": False}, "tool_configs": {str(tool.pk): runtime}}
    (frozen,) = snapshot.freeze(str(agent.pk), off)["tools"]
    assert frozen["hitl_timeout_seconds"] == seconds


@pytest.mark.parametrize("spell", [str, lambda pk: str(pk).upper(), lambda pk: pk.hex, lambda pk: f" {{{pk}}}"])
@pytest.mark.parametrize("is_sub_agent", [False, True])
def test_what_is_said_under_an_agents_id_is_heard_however_the_id_is_spelled(spell: Any, is_sub_agent: bool) -> None:
    tool = upload("reporter")
    agent = asking("worker", [tool])
    top = asking("leader", [], [agent]) if is_sub_agent else agent
    given = {spell(agent.pk): {"tool_configs": {str(tool.pk): {"hitl": {"timeout_seconds": 7}}}}}
    spec = snapshot.freeze(str(top.pk), given)
    (frozen,) = (spec["agents"][0] if is_sub_agent else spec)["tools"]
    assert frozen["hitl_timeout_seconds"] == 7


def test_an_agent_that_is_named_twice_in_different_spellings_is_refused() -> None:
    agent = asking("worker", [])
    with pytest.raises(Invalid, match=f"names the agent {agent.pk} twice"):
        snapshot.freeze(str(agent.pk), {str(agent.pk): {}, agent.pk.hex: {}})

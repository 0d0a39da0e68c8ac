"""What a run freezes: an agent as it was at one moment, and what `runtime_config` says of it."""

from typing import Any

import pytest
from django.db import connection

from agents import roster, specs
from agents.models import Agent, Tool
from tests.agents.runs import BeforeStatement, upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def gates(*tools: Tool) -> dict[str, Any]:
    return {str(tool.pk): {"hitl": {"timeout_seconds": 60}} for tool in tools}


def asking(name: str, tools: list[Tool], agents: list[Agent] | None = None) -> Agent:
    config = {"hitl_enabled": True}
    return roster.create(name=name, tools=tools, agents=agents or [], agent_config=config, tool_configs=gates(*tools))


def test_an_agent_whose_tools_are_replaced_while_a_run_begins_has_each_of_them_gated() -> None:
    old, new = upload("old"), upload("new")
    agent = asking("worker", [old])
    top = asking("leader", [], [agent])
    frozen_tools: list[str] = []

    for which in (agent, top):
        for number in range(1, 12):
            before, after = (old, new) if number % 2 else (new, old)

            def replace(after: Tool = after) -> None:
                with roster.editing(str(agent.pk)) as now:
                    roster.change(now, tools=[after], tool_configs=gates(after))

            with connection.execute_wrapper(BeforeStatement(number, replace)):
                spec = specs.freeze(str(which.pk), {})
            (tool,) = (spec if which is agent else spec["agents"][0])["tools"]
            assert tool["hitl_timeout_seconds"] == 60, f"{tool['name']}, with a change before statement {number}"
            assert tool["name"] in (before.name, after.name)
            frozen_tools.append(tool["name"])
    assert set(frozen_tools) == {"old", "new"}

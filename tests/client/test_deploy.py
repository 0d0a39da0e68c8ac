"""`Agent.deploy()` and the upserts: what is deployed again is changed, never doubled."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from glaip_sdk import Agent, Client

from tests.client.conftest import forget
from tests.client.things import MODEL, model_id, new_name, source


def tool_class(directory: Path, name: str, word: str) -> Any:
    """The class of a tool in a file of its own, as a program imports it."""
    path = directory / f"{name}_{word}.py"
    path.write_text(source(name, word))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where the client looks for the file of a class
    spec.loader.exec_module(module)
    return module.RequiresApprovalTool


def deployed(name: str, tool: Any, **fields: Any) -> Agent:
    """As a new process would."""
    forget()
    return Agent(name=name, model=MODEL, tools=[tool], **fields).deploy()


@pytest.mark.usefixtures("newcomer")
def test_deploying_twice_is_one_agent_and_one_tool_with_what_the_second_says(client: Client, tmp_path: Path) -> None:
    agent, tool = new_name("deployed"), new_name("record")
    first = deployed(agent, tool_class(tmp_path, tool, "First"), instruction="Begin.")
    assert "First: go" in str(first.run("go"))
    second = deployed(agent, tool_class(tmp_path, tool, "Second"), instruction="Go on.")
    assert second.id == first.id
    assert [found.id for found in client.find_agents(agent)] == [first.id]
    (found,) = client.find_tools(tool)
    read = client.get_agent(first.id)
    assert read.instruction == "Go on."
    assert [entry["id"] for entry in read.tools] == [found.id]
    assert "Second: go" in str(second.run("go"))


@pytest.mark.usefixtures("newcomer")
def test_deploying_again_keeps_the_gate_and_the_model(client: Client, tmp_path: Path) -> None:
    name, tool = new_name("deployed"), tool_class(tmp_path, new_name("record"), "Done")
    for seconds in (30, 45):
        agent = deployed(
            name,
            tool,
            instruction="Ask first.",
            tool_configs={tool: {"hitl": {"timeout_seconds": seconds}}},
            agent_config={"hitl_enabled": True},
        )
    read = client.get_agent(agent.id)
    assert list(read.tool_configs.values()) == [{"hitl": {"timeout_seconds": 45}}]
    assert read.agent_config["hitl_enabled"] is True
    assert read.language_model_id == model_id(client, MODEL)


@pytest.mark.usefixtures("newcomer")
def test_a_sparse_deploy_leaves_the_rest_as_it_is(client: Client, tmp_path: Path) -> None:
    name, tool = new_name("deployed"), tool_class(tmp_path, new_name("record"), "Done")
    first = deployed(name, tool, instruction="Begin.", description="Kept.")
    forget()
    gated = {tool: {"hitl": {"timeout_seconds": 30}}}
    Agent(name=name, instruction="Not sent.", model=MODEL, tools=[tool], tool_configs=gated).deploy(
        update_strategy="patch"
    )
    read = client.get_agent(first.id)
    assert (read.instruction, read.description) == ("Begin.", "Kept.")
    assert list(read.tool_configs.values()) == [{"hitl": {"timeout_seconds": 30}}]


def test_upserting_a_tool_twice_is_one_tool_with_the_second_source(client: Client) -> None:
    name = new_name("record")
    first = client.tools.upsert_tool(name, code=source(name, "First"), description="One.")
    second = client.tools.upsert_tool(name, code=source(name, "Second"), description="Two.")
    assert (second.id, second.description) == (first.id, "Two.")
    assert [tool.id for tool in client.find_tools(name)] == [first.id]
    assert 'f"Second: {action}"' in client.get_tool_script(first.id)


def test_upserting_an_agent_twice_is_one_agent(client: Client) -> None:
    name = new_name("upserted")
    first = client.agents.upsert_agent(name, instruction="Begin.", model=MODEL)
    second = client.agents.upsert_agent(name, instruction="Go on.", description="Changed.")
    assert second.id == first.id
    read = client.get_agent(first.id)
    assert (read.instruction, read.description) == ("Go on.", "Changed.")

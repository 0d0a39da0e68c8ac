"""Agents through the published client: made, read, listed, found, changed, deleted."""

import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import AuthenticationError, NotFoundError, ValidationError

from tests.client.things import MODEL, make_agent, make_tool, new_name
from tests.client.versions import refusal
from tests.live import Live


def test_an_agent_comes_back_as_it_was_made(client: Client) -> None:
    tool = make_tool(client)
    made = make_agent(client, tool, gated=True, description="Sends.", metadata={"team": "sales"}, timeout=120)
    read = client.get_agent_by_id(made.id)
    assert (read.id, read.name, read.instruction, read.description) == (
        made.id,
        made.name,
        "Do as you are asked.",
        "Sends.",
    )
    assert [(entry["id"], entry["name"]) for entry in read.tools] == [(tool.id, tool.name)]
    assert read.tool_configs == {tool.id: {"hitl": {"timeout_seconds": 60}}}
    assert read.metadata["team"] == "sales"
    assert read.agent_config["timeout_seconds"] == 120
    assert read.created_at
    assert read.updated_at


def test_lists_are_filtered_and_paged(client: Client) -> None:
    name = new_name("listed")
    made = [make_agent(client, name=f"{name}_{i}", version=f"{i}.0") for i in range(3)]
    assert {agent.id for agent in client.list_agents(name=name.upper())} == {agent.id for agent in made}
    assert [agent.id for agent in client.list_agents(name=name, version="1.0")] == [made[1].id]
    assert not client.list_agents(name=name, framework="langgraph")
    assert not client.list_agents(name=name, agent_type="a2a")
    page = client.agents.list_agents(name=name, limit=2, page=1)
    assert (len(page), page.total, page.has_next, page.has_prev) == (2, 3, True, False)
    rest = client.agents.list_agents(name=name, limit=2, page=2)
    assert (len(rest), rest.has_next, rest.has_prev) == (1, False, True)
    assert {agent.id for agent in (*page, *rest)} == {agent.id for agent in made}


def test_metadata_finds_an_agent(client: Client) -> None:
    mark = new_name('it\'s 100% "mine".x')
    made = make_agent(client, metadata={"mark": mark})
    assert [agent.id for agent in client.agents.list_agents(metadata={"mark": mark})] == [made.id]


def test_a_name_or_a_part_of_it_finds_an_agent(client: Client) -> None:
    made = make_agent(client)
    assert [agent.id for agent in client.find_agents(made.name)] == [made.id]
    assert [agent.id for agent in client.find_agents(made.name[2:].upper())] == [made.id]


def test_an_update_changes_what_it_names_and_keeps_the_rest(client: Client) -> None:
    tool, other = make_tool(client), make_tool(client)
    made = make_agent(client, tool, gated=True, description="Sends.")
    client.update_agent(made.id, instruction="Now write.", tools=[tool.id, other.id])
    read = client.get_agent(made.id)
    assert read.instruction == "Now write."
    assert {entry["id"] for entry in read.tools} == {tool.id, other.id}
    assert (read.name, read.description) == (made.name, "Sends.")
    assert read.tool_configs == {tool.id: {"hitl": {"timeout_seconds": 60}}}
    assert read.agent_config["hitl_enabled"] is True
    assert read.created_at == made.created_at


def test_an_agent_changes_and_deletes_itself(client: Client) -> None:
    made = make_agent(client)
    assert made.update(name=f"{made.name}_again").name.endswith("_again")
    assert client.get_agent(made.id).name.endswith("_again")
    made.delete()
    assert client.find_agents(made.name) == []


def test_a_patch_touches_only_what_it_names(client: Client) -> None:
    tool = make_tool(client)
    made = make_agent(client, tool, gated=True, description="Sends.")
    patched = client.patch_agent(made.id, instruction="Now write.", description=None, tools=[])
    assert (patched.instruction, patched.description, patched.tools) == ("Now write.", "", [])  # its word for null
    assert client.get_agent(made.id).agent_config["hitl_enabled"] is True


def test_a_deleted_agent_is_gone_everywhere(client: Client) -> None:
    made = make_agent(client)
    client.delete_agent(made.id)
    for call in (client.get_agent, client.delete_agent):
        with pytest.raises(NotFoundError, match=refusal(404, made.id)):
            call(made.id)
    with pytest.raises(NotFoundError):
        client.run_agent(made.id, "go")
    assert client.find_agents(made.name) == []


def test_an_unknown_tool_changes_nothing(client: Client) -> None:
    made = make_agent(client, make_tool(client))
    with pytest.raises(ValidationError, match="tools"):
        client.update_agent(made.id, instruction="Lost.", tools=["00000000-0000-4000-8000-000000000000"])
    assert client.get_agent(made.id).instruction == made.instruction


def test_the_listed_models_can_be_named_and_others_are_refused_by_the_client(client: Client) -> None:
    listed = {f"{model['provider']}/{model['name']}" for model in client.agents.list_language_models()}
    assert {MODEL, "openai/gpt-4.1"} <= listed
    assert make_agent(client, model="openai/gpt-4.1").id
    with pytest.raises(Exception, match="nobody/knows"):
        make_agent(client, model="nobody/knows")


def test_a_wrong_key_is_an_authentication_error(server: Live) -> None:
    with (
        Client(api_url=server.url, api_key="wrong") as stranger,
        pytest.raises(AuthenticationError, match=refusal(401, "API key")),
    ):
        stranger.list_agents()


def test_the_probe_finds_a_healthy_server(client: Client) -> None:
    assert client.ping()
    assert client.probe_diagnostics().status.value == "healthy"

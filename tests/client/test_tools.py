"""Tools through the published client."""

from pathlib import Path

import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import ConflictError, NotFoundError, ValidationError

from tests.client.things import make_agent, make_tool, new_name, source
from tests.client.versions import refusal


def test_a_tool_comes_back_as_it_was_uploaded(client: Client) -> None:
    made = make_tool(client, description="Writes down.", tags=["a", "b"])
    read = client.get_tool_by_id(made.id)
    assert (read.name, read.description, read.framework, read.version) == (
        made.name,
        "Writes down.",
        "langchain",
        "1.0",
    )
    assert read.tags in (["a", "b"], "a,b")
    assert client.get_tool_script(made.id) == source(made.name) == read.get_script()


def test_a_file_is_uploaded_by_its_path(client: Client, tmp_path: Path) -> None:
    name = new_name("record")
    path = tmp_path / f"{name}.py"
    path.write_text(source(name))
    assert client.create_tool(file_path=str(path)).name == name


def test_lists_and_names_find_tools(client: Client) -> None:
    made = make_tool(client)
    assert made.id in {tool.id for tool in client.list_tools()}
    assert made.id in {tool.id for tool in client.list_tools(tool_type="custom")}
    assert [tool.name for tool in client.list_tools(tool_type="native")] == ["time_tool"]
    assert [tool.id for tool in client.find_tools(made.name)] == [made.id]


def test_a_name_that_is_taken_conflicts_until_its_tool_is_deleted(client: Client) -> None:
    made = make_tool(client)
    with pytest.raises(ConflictError, match=refusal(409, made.name)):
        client.create_tool_from_code(name=made.name, code=source(made.name))
    client.delete_tool(made.id)
    assert client.create_tool_from_code(name=made.name, code=source(made.name)).id != made.id


def test_an_update_of_the_metadata_keeps_name_and_source(client: Client) -> None:
    made = make_tool(client)
    client.update_tool(made.id, description="Better.", tags=["x", "y"])
    read = client.get_tool(made.id)
    assert (read.name, read.description) == (made.name, "Better.")
    assert read.tags in (["x", "y"], "x,y")
    assert client.get_tool_script(made.id) == source(made.name)


def test_a_new_file_is_a_new_version_of_the_same_tool(client: Client, tmp_path: Path) -> None:
    made = make_tool(client)
    agent = make_agent(client, made)
    path = tmp_path / "better.py"
    path.write_text(source(made.name, "Better"))
    updated = client.update_tool_via_file(made.id, str(path))
    assert (updated.id, updated.name) == (made.id, made.name)
    assert client.get_tool_script(made.id) == source(made.name, "Better")
    assert "Better: go" in client.run_agent(agent.id, "go")


def test_a_file_that_is_no_tool_is_refused_and_changes_nothing(client: Client, tmp_path: Path) -> None:
    made = make_tool(client)
    path = tmp_path / "broken.py"
    path.write_text("def broken(:\n")
    with pytest.raises(ValidationError, match="file"):
        client.update_tool_via_file(made.id, str(path))
    assert client.get_tool_script(made.id) == source(made.name)


def test_a_deleted_tool_is_gone_and_its_agents_do_without_it(client: Client) -> None:
    gone, kept = make_tool(client), make_tool(client)
    agent = make_agent(client, gone, kept)
    client.delete_tool(gone.id)
    with pytest.raises(NotFoundError, match=refusal(404, gone.id)):
        client.get_tool(gone.id)
    with pytest.raises(NotFoundError):
        client.delete_tool(gone.id)
    assert client.find_tools(gone.name) == []
    assert [entry["id"] for entry in client.get_agent(agent.id).tools] == [kept.id]
    heard = client.run_agent(agent.id, "go")
    assert kept.name in heard
    assert gone.name not in heard

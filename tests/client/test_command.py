"""The `aip` command that the published client installs, started as a person starts it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glaip_sdk import Agent, Client, Tool

from tests.client.shell import Shell
from tests.client.things import MODEL, make_agent, make_tool, new_name, source
from tests.live import Live, eventually


@pytest.fixture(scope="module")
def shell(server: Live, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With a stored account."""
    found = Shell(tmp_path_factory.mktemp("home"))
    found.run("accounts", "add", "ours", "--url", server.url, "--key", server.key)
    return found


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[Client]:
    with Client(api_url=server.url, api_key=server.key) as found:
        yield found


@pytest.fixture(scope="module")
def tool(client: Client) -> Tool:
    return make_tool(client, description="Writes down.")


@pytest.fixture(scope="module")
def agent(client: Client, tool: Tool) -> Agent:
    return make_agent(client, tool)


LOOKS = {
    "agents list": ("agents", "list", "--name", "AGENT"),
    "agents get": ("agents", "get", "AGENT"),
    "tools list": ("tools", "list"),
    "tools get": ("tools", "get", "TOOL"),
    "tools script": ("tools", "script", "TOOL_ID"),
    "models list": ("models", "list"),
    "mcps list": ("mcps", "list"),
}


@pytest.fixture(scope="module")
def looked(shell: Shell, agent: Agent, tool: Tool) -> dict[str, Any]:
    """What each command that only looks printed as JSON."""
    names = {"AGENT": agent.name, "TOOL": tool.name, "TOOL_ID": str(tool.id)}
    commands = [tuple(names.get(word, word) for word in command) for command in LOOKS.values()]
    return dict(zip(LOOKS, shell.read_all(*commands), strict=True))


def test_status_reaches_the_server_with_an_account_and_with_a_key(server: Live, shell: Shell) -> None:
    given = ("--api-url", server.url, "--api-key", server.key)
    for text in shell.run_all(("status",), (*given, "status")):
        assert server.url in text
        assert "API call failed" not in text
        assert "agents" in text
        assert "mcps 0" in text


def test_agents_list(looked: dict[str, Any], agent: Agent) -> None:
    assert [(entry["id"], entry["name"]) for entry in looked["agents list"]] == [(agent.id, agent.name)]


def test_agents_get(looked: dict[str, Any], agent: Agent, tool: Tool) -> None:
    found = looked["agents get"]
    assert (found["id"], found["name"], found["instruction"]) == (agent.id, agent.name, "Do as you are asked.")
    assert tool.name in str(found["tools"])


def test_tools_list(looked: dict[str, Any], tool: Tool) -> None:
    assert tool.id in {entry["id"] for entry in looked["tools list"]}


def test_tools_get(looked: dict[str, Any], tool: Tool) -> None:
    found = looked["tools get"]
    assert (found["id"], found["name"], found["description"]) == (tool.id, tool.name, "Writes down.")


def test_tools_script(looked: dict[str, Any], tool: Tool) -> None:
    assert looked["tools script"]["script"] == source(tool.name)


def test_models_list(looked: dict[str, Any]) -> None:
    assert {f"{entry['provider']}/{entry['name']}" for entry in looked["models list"]} >= {MODEL, "openai/gpt-4.1"}


def test_mcps_list(looked: dict[str, Any]) -> None:
    assert looked["mcps list"] == []


def test_tools_and_agents_are_created_updated_and_deleted(client: Client, shell: Shell, tmp_path: Path) -> None:
    name, agent_name = new_name("record"), new_name("agent")
    path = tmp_path / f"{name}.py"
    path.write_text(source(name, "First"))
    tool = shell.read("tools", "create", str(path), "--tags", "a,b")
    assert client.get_tool_script(tool["id"]) == source(name, "First")

    made = ("--name", agent_name, "--instruction", "Begin.", "--model", MODEL, "--tools", name)
    path.write_text(source(name, "Second"))
    agent, updated = shell.read_all(("agents", "create", *made), ("tools", "update", tool["id"], "--file", str(path)))
    assert updated["id"] == tool["id"]
    assert client.get_tool_script(tool["id"]) == source(name, "Second")
    assert [entry["name"] for entry in client.get_agent(agent["id"]).tools] == [name]

    changed = shell.read("agents", "update", agent["id"], "--instruction", "Go on.")
    assert changed["id"] == agent["id"]
    read = client.get_agent(agent["id"])
    assert (read.instruction, [entry["name"] for entry in read.tools]) == ("Go on.", [name])

    shell.run_all(("agents", "delete", agent["id"], "--yes"), ("tools", "delete", tool["id"], "--yes"))
    assert client.find_agents(agent_name) == []
    assert client.find_tools(name) == []


def test_agents_run_gives_the_answer_and_takes_a_file(shell: Shell, agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "offer.txt"
    path.write_text("Salary: 50,000 €")
    by_name, with_file = shell.run_all(
        ("agents", "run", agent.name, "send the offer"),
        ("agents", "run", str(agent.id), "Answer this", "--file", str(path)),
    )
    assert "Recorded: send the offer" in by_name
    assert "Salary: 50,000 €" in with_file


def test_agents_run_waits_at_a_pause_and_finishes_after_the_decision(
    server: Live, client: Client, shell: Shell
) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    process = shell.start("agents", "run", agent.name, "send the offer")
    try:
        (asked,) = eventually(lambda: [e for e in server.pending() if e["agent_id"].startswith(agent.name)], 30)
        waits = "SELECT 1 FROM agents_run WHERE id = %s AND status = 'waiting'"
        eventually(lambda: server.rows(waits, asked["run_id"]))
        assert process.poll() is None
        server.decide(asked["request_id"], "approved", "Looks good")
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Recorded: send the offer" in output
    assert "Looks good" in output
    shown = [line.strip() for line in output.splitlines()]
    root = next(i for i, line in enumerate(shown) if re.match(r"🤖 Agent .*✓$", line))
    steps = [line for line in shown[root:] if line.startswith(("├─", "└─"))]
    assert any(re.match(r"├─ 🔧 Record .* — \[\d+ms\] ✓$", line) for line in steps)
    assert '├─      action: "send the offer"' in steps

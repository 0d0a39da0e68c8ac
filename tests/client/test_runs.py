"""Runs through the published client: results, usage, options, attachments and the history."""

import asyncio
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import APIError, NotFoundError
from glaip_sdk.hitl import RemoteHITLHandler
from glaip_sdk.models.agent_runs import AgentRunResult

from tests.client.things import make_agent, make_tool, new_name
from tests.client.versions import SHOWS_THE_SERVERS_TEXT
from tests.live import Live, eventually
from tests.model_server import ModelServer, says

Body = dict[str, Any]


def openai_agent(server: Live, model: str) -> str:
    """An agent whose model answers by the script of that name."""
    return server.create_agent(name=model, agent_config={"lm_provider": "openai", "lm_name": model})


def traced(client: Client, agent_id: Any, text: str, **options: Any) -> AgentRunResult:
    result = client.run_agent(agent_id, text, trace=True, **options)
    assert isinstance(result, AgentRunResult)
    return result


def test_a_run_gives_the_answer(client: Client) -> None:
    assert client.run_agent(make_agent(client).id, "hello") == "You said: hello"


def test_a_traced_run_has_its_id_its_model_and_the_usage_that_the_model_reported(
    server: Live, client: Client, models: ModelServer
) -> None:
    name = new_name("model")
    models.scripts[name] = lambda body: says("forty-two")
    result = traced(client, openai_agent(server, name), "what?")
    assert result.text == "forty-two"
    assert result.model == f"openai/{name}"
    assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.total_tokens) == (10, 5, 15)
    assert server.status(result.run_id) == "succeeded"


def test_a_traced_run_shows_its_steps(client: Client) -> None:
    tool = make_tool(client)
    agent = make_agent(client, tool, gated=True)
    result = traced(client, agent.id, "go", hitl_handler=RemoteHITLHandler(client=client, auto_approve=True))
    outputs = {step.tool_output for step in result.steps if step.tool_name == tool.name}
    assert "Recorded: go" in outputs
    assert any(str(output).startswith("Awaiting human approval") for output in outputs)
    assert {"action": "go"} in [step.tool_args for step in result.steps]


def test_a_parallel_run_of_the_asynchronous_client(client: Client) -> None:
    agent = make_agent(client)

    async def answer(text: str) -> str:
        found = [chunk async for chunk in client.agents.arun_agent(agent.id, text)]
        return next(chunk["content"] for chunk in found if chunk.get("is_final"))

    async def all_answers() -> list[str]:
        return await asyncio.gather(*(answer(f"hello {i}") for i in range(5)))

    assert asyncio.run(all_answers()) == [f"You said: hello {i}" for i in range(5)]


def test_options_of_a_run_are_accepted_and_override_for_it_alone(
    server: Live, client: Client, models: ModelServer
) -> None:
    name = new_name("model")
    models.scripts[name] = lambda body: says("heard")
    agent_id = openai_agent(server, name)
    history = [{"role": "user", "content": "I am Jane."}, {"role": "assistant", "content": "Hello Jane."}]
    client.run_agent(
        agent_id,
        "who am I?",
        chat_history=history,
        runtime_config={"agent_config": {"lm_hyperparameters": {"temperature": 0.5}}},
        pii_mapping={"<NAME_1>": "Jane"},
        enable_pii=True,
        user_id="jane",
        memory_user_id="jane",
        gl_connectors_token="token",
        something_of_my_own=1,
    )
    client.run_agent(agent_id, "again")
    first, second = models.sent_to(name)
    assert [message["content"] for message in first["messages"]][-3:] == ["I am Jane.", "Hello Jane.", "who am I?"]
    assert first["temperature"] == 0.5
    assert second.get("temperature") != 0.5


def test_attached_text_files_reach_the_model_with_their_names(
    server: Live, client: Client, models: ModelServer, tmp_path: Path
) -> None:
    name = new_name("model")
    models.scripts[name] = lambda body: says("read")
    path = tmp_path / "offer.txt"
    path.write_text("Salary: 50,000 €")
    heard = client.run_agent(
        openai_agent(server, name), "sum up", files=[str(path)], chat_history=[{"role": "user", "content": "earlier"}]
    )
    assert heard == "read"
    (body,) = models.sent_to(name)
    told = str(body["messages"])
    assert all(text in told for text in ("offer.txt", "Salary: 50,000 €", "sum up", "earlier"))


def test_the_history_has_every_run_the_newest_first(client: Client) -> None:
    agent = make_agent(client)
    assert client.agents.runs.list_runs(agent.id).data == []
    ids = [traced(client, agent.id, f"hello {i}").run_id for i in range(3)]
    page = client.agents.runs.list_runs(agent.id, limit=2)
    assert [str(run.id) for run in page.data] == [ids[2], ids[1]]
    assert (page.total, page.has_next, page.has_prev) == (3, True, False)
    rest = client.agents.runs.list_runs(agent.id, limit=2, page=2)
    assert [(str(run.id), run.status, run.input) for run in rest.data] == [(ids[0], "success", "hello 0")]
    assert client.agents.runs.list_runs(agent.id, limit=2, page=3).data == []


def test_a_single_run_has_its_events_as_they_were_streamed(server: Live, client: Client, models: ModelServer) -> None:
    name = new_name("model")
    models.scripts[name] = lambda body: says("forty-two")
    result = traced(client, agent_id := openai_agent(server, name), "what?")
    run = client.agents.runs.get_run(agent_id, result.run_id)
    assert (str(run.id), str(run.agent_id), run.status, run.input) == (result.run_id, agent_id, "success", "what?")
    assert run.total_usage
    assert run.total_usage["total_tokens"] == 15
    durable = [event for event in result.events if event["metadata"].get("kind") != "token"]
    assert run.output == durable
    assert run.duration()


def test_a_run_that_waits_is_started_and_one_that_failed_is_failed(
    server: Live, client: Client, models: ModelServer
) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    thread = threading.Thread(target=client.run_agent, args=(agent.id, "go"), daemon=True)
    thread.start()
    waits = "SELECT 1 FROM agents_run WHERE agent_id = %s AND status = 'waiting'"
    eventually(lambda: server.rows(waits, agent.id))
    (run,) = client.agents.runs.list_runs(agent.id).data
    assert (run.status, run.completed_at) == ("started", None)
    assert client.agents.runs.get_run(agent.id, str(run.id)).output
    (asked,) = [entry for entry in client.hitl.list_pending() if entry["run_id"] == str(run.id)]
    client.hitl.skip(asked["request_id"])
    thread.join(30)
    assert client.agents.runs.get_run(agent.id, str(run.id)).status == "success"

    name = new_name("model")
    models.scripts[name] = lambda body: 401
    with nullcontext() if SHOWS_THE_SERVERS_TEXT else pytest.raises(APIError, match=r"^The run failed\."):
        client.run_agent(failing := openai_agent(server, name), "go")
    assert [run.status for run in client.agents.runs.list_runs(failing).data] == ["failed"]


def test_an_unknown_run_is_not_found(client: Client) -> None:
    agent, other = make_agent(client), make_agent(client)
    run_id = traced(client, agent.id, "hello").run_id
    for agent_id in (other.id, "00000000-0000-4000-8000-000000000000"):
        with pytest.raises(NotFoundError):
            client.agents.runs.get_run(agent_id, run_id)

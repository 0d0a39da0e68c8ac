"""The traps of the wire contract's section 6, each by its number, as the published client shows them.

Shown elsewhere: 7 and 8 in deployments too (test_deploy.py), 16 and 18 (test_approvals.py), 19 (test_command.py).
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import APIError, ConflictError, NotFoundError, ValidationError
from glaip_sdk.hitl import HITLDecision, HITLRequest, HITLResponse, RemoteHITLHandler

from tests.client.test_runs import openai_agent, traced
from tests.client.things import MODEL, make_agent, make_tool, new_name, source
from tests.client.versions import SHOWS_THE_SERVERS_TEXT
from tests.live import Live
from tests.model_server import ModelServer, says

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def answers(client: Client) -> list[httpx.Response]:
    """Every answer that the client gets, in order."""
    found: list[httpx.Response] = []
    client.http_client.event_hooks["response"].append(found.append)
    return found


def test_trap_1_no_event_has_a_null_where_the_client_expects_an_object(client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    handler = RemoteHITLHandler(client=client, auto_approve=True)
    result = traced(client, agent.id, "go", hitl_handler=handler)
    assert result.events
    for event in result.events:
        assert isinstance(event["metadata"], dict)
        assert all(isinstance(event["metadata"].get(key, {}), dict) for key in ("hitl", "tool_info"))


def test_trap_2_the_handler_knows_the_deadline(client: Client) -> None:
    asked: list[HITLRequest] = []

    def callback(request: HITLRequest) -> HITLResponse:
        asked.append(request)
        return HITLResponse(HITLDecision.APPROVED)

    tool = make_tool(client)
    agent = make_agent(client, tool, gated=True, tool_configs={tool.id: {"hitl": {}}})
    heard = client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(callback, client=client))
    assert "Recorded: go" in heard
    assert asked[0].timeout_seconds == 300
    assert asked[0].timeout_at


def test_trap_3_separators_of_lines_in_an_answer_do_not_lose_it(client: Client) -> None:
    text = "one\u2028two\u2029three\u0085four\u000bfive\u001esix"
    result = traced(client, make_agent(client).id, text)
    assert text in next(event["content"] for event in result.events if event.get("is_final"))


def test_trap_4_every_data_line_is_an_object(server: Live, client: Client) -> None:
    stream = server.run(str(make_agent(client, make_tool(client)).id), "go")
    stream.ended()
    data = [line.removeprefix("data: ") for line in stream.lines if line.startswith("data:")]
    assert data.pop() == "[DONE]"
    assert all(isinstance(json.loads(text), dict) for text in data)


def test_trap_5_the_client_returns_as_soon_as_the_answer_is_there(client: Client) -> None:
    agent = make_agent(client)
    client.run_agent(agent.id, "warm up")
    started = time.monotonic()
    client.run_agent(agent.id, "hello")
    assert time.monotonic() - started < 5


def test_trap_6_tools_of_an_agent_are_objects(client: Client) -> None:
    tool = make_tool(client)
    made = make_agent(client, tool)
    assert [entry["name"] for entry in client.get_agent(made.id).tools] == [tool.name]
    assert [entry["name"] for agent in client.list_agents(name=made.name) for entry in agent.tools] == [tool.name]


def test_trap_7_an_uploaded_tool_belongs_to_an_account(client: Client) -> None:
    tool = make_tool(client)
    (found,) = client.find_tools(tool.name)
    assert found.account_id
    assert client.tools.upsert_tool(tool.name, code=source(tool.name)).id == tool.id


def test_trap_8_a_name_beyond_a_hundred_others_is_found(server: Live, client: Client) -> None:
    name = new_name("first")
    oldest = client.agents.upsert_agent(name, instruction="I am the oldest.", model=MODEL)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: server.create_agent(name=f"{name}_later_{i}"), range(101)))
    assert len(client.list_agents(name=name)) == 102
    assert oldest.id in {agent.id for agent in client.list_agents()}
    server.write("UPDATE agents_agent SET deleted_at = now() WHERE name LIKE %s", f"{name}\\_later%")


def test_trap_9_every_status_of_a_run_is_one_that_the_client_reads(server: Live, client: Client) -> None:
    tool = make_tool(client)
    agent = make_agent(client, tool, gated=True)
    streams = [server.run(str(agent.id), word) for word in ("success", "cancelled", "started")]
    skipped, _cancelled, waiting = [stream.await_pending()[0]["hitl"]["request_id"] for stream in streams]
    server.decide(skipped, "skipped")
    server.client.post(f"/agents/{agent.id}/runs/{streams[1].run_id}/cancel")
    for stream in streams[:2]:
        stream.finish()
    found = client.agents.runs.list_runs(agent.id).data
    assert [(run.input, run.status) for run in reversed(found)] == [
        (word, word) for word in ("success", "cancelled", "started")
    ]
    server.decide(waiting, "skipped")
    streams[2].finish()


def test_trap_10_a_single_run_is_read(client: Client) -> None:
    agent = make_agent(client)
    result = traced(client, agent.id, "hello")
    assert client.agents.runs.get_run(agent.id, result.run_id).output[-1]


def test_trap_11_the_client_is_never_redirected(client: Client, answers: list[httpx.Response]) -> None:
    agent = make_agent(client, tool := make_tool(client), gated=True)
    client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(client=client, auto_approve=True))
    client.agents.runs.list_runs(agent.id)
    client.update_agent(agent.id, instruction="Again.")
    client.update_tool(tool.id, description="Again.")
    client.mcps.list_mcps()
    client.delete_agent(agent.id)
    client.delete_tool(tool.id)
    assert len(answers) > 10
    assert [answer.url for answer in answers if not answer.is_success] == []


def test_trap_13_the_reason_of_a_failure_is_what_the_user_reads(
    server: Live, client: Client, models: ModelServer
) -> None:
    name = new_name("model")
    models.scripts[name] = lambda body: 401
    agent = openai_agent(server, name)
    if SHOWS_THE_SERVERS_TEXT:
        heard = client.run_agent(agent, "go")
        assert "401" in heard or "refused" in heard
        assert heard != "No agent response received."
        return
    with pytest.raises(APIError) as raised:  # the text is hidden; the word for programs is not
        client.run_agent(agent, "go")
    assert raised.value.error_code == "model_failed"


@pytest.mark.parametrize(
    "fields",
    [
        {"agent_config": {"lm_provider": "openai", "lm_name": "gpt-4.1"}},
        {"provider": "openai", "model_name": "gpt-4.1"},
        {"provider": "openai", "model_name": "gpt-not-listed"},
        {"agent_config": {"language_model": {"id": "openai/gpt-4.1"}}},
        {"language_model_id": "listed"},
    ],
    ids=["guide", "top level", "unlisted", "embedded", "listed"],
)
def test_trap_14_an_update_keeps_the_model_whichever_way_it_came(
    server: Live, client: Client, models: ModelServer, fields: dict[str, Any]
) -> None:
    listed = {model["name"]: model["id"] for model in client.agents.list_language_models()}
    given = {key: listed["gpt-4.1"] if value == "listed" else value for key, value in fields.items()}
    model = given.get("model_name", "gpt-4.1")
    models.scripts[model] = lambda body: says("heard")
    agent_id = server.create_agent(name=new_name("agent"), **given)
    client.update_agent(agent_id, instruction="Changed.")
    client.update_agent(agent_id, description="Changed again.")
    assert traced(client, agent_id, "go").model == f"openai/{model}"


def test_trap_15_a_traced_run_has_the_id_of_the_run(client: Client) -> None:
    agent = make_agent(client)
    result = traced(client, agent.id, "hello")
    assert [str(run.id) for run in client.agents.runs.list_runs(agent.id).data] == [result.run_id]


def test_trap_17_no_wrong_decision_makes_the_client_try_again(client: Client, answers: list[httpx.Response]) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    asked: list[str] = []

    def callback(request: HITLRequest) -> HITLResponse:
        asked.append(request.request_id)
        client.hitl.approve(request.request_id)
        return HITLResponse(HITLDecision.REJECTED)  # too late: the handler takes the conflict for done

    heard = client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(callback, client=client))
    assert "Recorded: go" in heard
    with pytest.raises(ConflictError):
        client.hitl.reject(asked[0])
    with pytest.raises(NotFoundError):
        client.hitl.reject(UNKNOWN)
    with pytest.raises((NotFoundError, ValidationError)):
        client.hitl.reject("not a uuid")
    decisions = [answer.status_code for answer in answers if answer.url.path == "/agents/hitl/decision"]
    assert decisions[:4] == [200, 409, 409, 404]
    assert len(decisions) == 5


def test_trap_19_an_uploaded_tool_is_custom(client: Client) -> None:
    assert client.get_tool(make_tool(client).id).tool_type == "custom"

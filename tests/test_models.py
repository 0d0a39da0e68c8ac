"""A model that cannot be asked: the run fails, and its last event says what to do."""

import time
from typing import Any

import pytest
from pytest_django import Settings

from agents.catalog import model_names
from agents.llm import chat_models, providers
from tests.live import OPENAI_KEY, Live, Stream
from tests.model_server import Body, ModelServer, calls, says, tool_call, tool_results


def run_on(server: Live, provider: str, model: str, **config: Any) -> Stream:
    agent = server.create_agent(agent_config={"lm_provider": provider, "lm_name": model} | config)
    return server.run(agent, "Answer me")


def reason(stream: Stream) -> str:
    final = stream.finish()
    assert (final["status"], final["task_state"], final["event_type"]) == ("error", "failed", "error")
    assert (final["metadata"]["kind"], final["metadata"]["status"]) == ("agent_default", "error")
    for said in (final, final["metadata"]):
        assert (said["error_code"], said["category"]) == ("model_failed", "model")
    assert stream.done
    assert OPENAI_KEY not in "".join(stream.lines)
    return str(final["content"])


def slow(body: Body) -> Body:
    time.sleep(8)
    return says("too late")


def test_an_unknown_provider(server: Live) -> None:
    assert "'acme' is not known" in reason(run_on(server, "acme", "one"))


def test_a_language_model_id_that_is_not_listed(server: Live) -> None:
    agent = server.create_agent(language_model_id="7f1f2f34-0000-4000-8000-000000000000")
    assert "GET /language-models/" in reason(server.run(agent, "Answer me"))


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "check OPENAI_API_KEY"),
        (404, "check lm_name"),
        (429, "try again later"),
        (400, "check lm_name, lm_hyperparameters"),
        (500, "its server failed"),
    ],
)
def test_a_model_server_that_refuses(server: Live, models: ModelServer, status: int, advice: str) -> None:
    models.scripts[f"status-{status}"] = lambda _: status
    assert advice in reason(run_on(server, "openai", f"status-{status}"))


def test_a_model_that_is_too_slow(server: Live, models: ModelServer) -> None:
    models.scripts["slow-model"] = slow
    assert "did not answer in time" in reason(run_on(server, "openai", "slow-model"))


def test_arguments_that_are_nested_too_deep_end_the_run_and_say_so(server: Live, models: ModelServer) -> None:
    text = '{"text": ' + "[" * 300 + "]" * 300 + "}"
    models.scripts["digger"] = lambda _: calls(tool_call("reporter", text, "call_1"))
    assert "nested more than 100 levels deep" in reason(run_on(server, "openai", "digger"))


def test_a_tool_that_the_agent_does_not_have_is_told_to_the_model(server: Live, models: ModelServer) -> None:
    models.scripts["dreamer"] = lambda body: (
        says("Never mind.") if tool_results(body) else calls(tool_call("no_such_tool", {}, "call_1"))
    )
    assert run_on(server, "openai", "dreamer").finish()["content"] == "Never mind."
    assert "not a valid tool" in tool_results(models.sent_to("dreamer")[-1])[0]


def test_an_answer_without_a_text_still_ends_the_run_with_one(server: Live, models: ModelServer) -> None:
    models.scripts["silent"] = lambda _: says("")
    assert run_on(server, "openai", "silent").finish()["content"]


def test_hyperparameters_history_and_instruction_reach_the_model(server: Live, models: ModelServer) -> None:
    models.scripts["listener"] = lambda _: says("I hear you.")
    agent = server.create_agent(
        instruction="Be brief.",
        agent_config={"lm_provider": "openai", "lm_name": "listener", "lm_hyperparameters": {"temperature": 0.5}},
    )
    history = [{"role": "user", "content": "hello"}, {"role": "ai", "content": "hi"}, {"role": "?", "content": "so"}]
    stream = server.run(
        agent,
        "go on",
        chat_history=history,
        runtime_config={"agent_config": {"lm_hyperparameters": {"top_p": 0.9}}},
    )
    stream.finish()
    (sent,) = models.sent_to("listener")
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("system", "Be brief."),
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "so"),
        ("user", "go on"),
    ]
    assert (sent["temperature"], sent["top_p"]) == (0.5, 0.9)
    usage = next(e["usage"] for e in stream.events if e["metadata"]["kind"] == "usage")
    assert usage == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def test_an_address_of_an_agents_own_is_refused_at_create_and_for_a_run(server: Live) -> None:
    config = {"lm_provider": "openai", "lm_name": "gpt-4.1", "lm_base_url": "https://evil.example.com/v1"}
    refused = server.client.post("/agents/", json={"name": "thief", "agent_config": config})
    assert refused.status_code == 400
    assert "AIP_MODEL_BASE_URLS" in refused.json()["message"]
    agent = server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "gpt-4.1"})
    body = {"input": "go", "runtime_config": {"agent_config": config}}
    assert server.client.post(f"/agents/{agent}/run", json=body).status_code == 400


def test_without_a_key_the_server_says_where_to_set_one(settings: Settings) -> None:
    settings.OPENAI_API_KEY = ""
    with pytest.raises(providers.ModelUnusable, match="set OPENAI_API_KEY"):
        chat_models.build(model_names.parse("openai/gpt-4.1"))


def test_an_address_that_is_no_longer_allowed_gets_no_key(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk-secret"
    with pytest.raises(providers.ModelUnusable, match="AIP_MODEL_BASE_URLS"):
        chat_models.build(model_names.Model(provider="openai", name="gpt-4.1", base_url="https://evil.example.com/v1"))


def test_a_model_server_that_cannot_be_reached(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk-secret"
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    model = model_names.parse("openai/gpt-4.1")
    with pytest.raises(Exception, match="onnection") as caught:
        chat_models.build(model).invoke("hello")
    assert "cannot be reached; check OPENAI_BASE_URL" in (chat_models.explain(caught.value, model) or "")

"""Any installed LangChain provider, by its name; the guards on keys and addresses hold for each."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from agents.catalog import model_names
from agents.llm import chat_models, providers
from agents.models import Run, RunEvent, RunStatus
from agents.runs import lifecycle
from tests import anthropic_server
from tests.agents.runs import await_requests, carried, carry, decide, fresh, gated_agent, start
from tests.anthropic_server import AnthropicServer, text, tool_results, tool_use
from tests.listener import Listener

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]

KEY = "sk-ant-the-servers-own"


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    with anthropic_server.serving() as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield server


def model(name: str = "claude", **fields: Any) -> model_names.Model:
    return model_names.Model(provider="anthropic", name=name, **fields)


def end_of(run: Run) -> dict[str, Any]:
    return RunEvent.objects.get(run=run, key="end").payload


def test_a_gated_call_of_another_providers_model(claude: AnthropicServer, world: Listener, alice: User) -> None:
    def script(body: Any) -> Any:
        if tool_results(body):
            return [text("It is done.")]
        return [text("I report."), tool_use("reporter", {"text": "by claude"}, "toolu_1")]

    claude.scripts["claude"] = script
    config = {"lm_provider": "anthropic", "lm_name": "claude", "lm_hyperparameters": {"temperature": 0.5}}
    run = start(gated_agent(world, agent_config=config))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    assert request.arguments == {"text": "by claude"}
    decide(request, "approved", alice)
    thread.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert end_of(run)["content"] == "It is done."
    assert end_of(run)["metadata"]["total_usage"] == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    assert world.count("by claude") == 1
    assert claude.received[0]["temperature"] == 0.5
    assert set(claude.keys) == {KEY}


@pytest.mark.parametrize(("status", "advice"), [(401, "check ANTHROPIC_API_KEY"), (404, "ANTHROPIC_BASE_URL")])
def test_a_refusal_says_what_to_check_and_not_the_key(
    claude: AnthropicServer, world: Listener, caplog: pytest.LogCaptureFixture, status: int, advice: str
) -> None:
    claude.scripts["claude"] = lambda _: status
    run = start(gated_agent(world, agent_config={"lm_provider": "anthropic", "lm_name": "claude"}))
    assert carried(run).status == RunStatus.FAILED
    assert advice in end_of(run)["content"]
    assert KEY not in str(end_of(run)) + caplog.text


def test_without_a_key_it_says_where_to_set_one(claude: AnthropicServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(providers.ModelUnusable, match="set ANTHROPIC_API_KEY"):
        chat_models.build(model())


def test_a_provider_that_is_not_installed_names_its_package() -> None:
    with pytest.raises(providers.ModelUnusable, match="needs the Python package langchain-mistralai"):
        chat_models.build(model_names.Model(provider="mistralai", name="large"))


def test_a_provider_whose_set_up_fails_repeats_nothing_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "not an address")
    with pytest.raises(providers.ModelUnusable, match="cannot be set up") as caught:
        chat_models.build(model_names.Model(provider="azure_openai", name="gpt"))
    assert KEY not in str(caught.value)


def test_an_address_that_is_listed_for_one_provider_gets_no_key_of_another(
    claude: AnthropicServer, settings: Settings
) -> None:
    """Whoever runs a server of OpenAI's protocol must not be handed the key for another one."""
    settings.MODEL_BASE_URLS = [("openai", claude.url)]
    for provider in ("anthropic", "Anthropic", "ANTHROPIC "):
        with pytest.raises(providers.ModelUnusable, match="not allowed for the provider anthropic"):
            chat_models.build(model_names.Model(provider=provider, name="claude", base_url=claude.url))
    assert claude.received == []
    settings.MODEL_BASE_URLS = [("anthropic", claude.url)]
    claude.scripts["claude"] = lambda _: 404
    with pytest.raises(Exception, match="404"):
        chat_models.build(model(base_url=claude.url)).invoke("hello")
    assert claude.keys == [KEY]


def test_an_hyperparameter_that_the_provider_does_not_take_is_named(claude: AnthropicServer) -> None:
    with pytest.raises(providers.ModelUnusable, match="takes no seed"):
        chat_models.build(model(hyperparameters={"seed": 1}))


def test_a_model_has_a_time_limit(claude: AnthropicServer, settings: Settings) -> None:
    settings.MODEL_TIMEOUT_SECONDS = 7
    built: Any = chat_models.build(model())
    assert built.default_request_timeout == 7
    assert built.max_retries == 0  # `agents.llm.retries` does it


def test_a_run_of_an_unlisted_address_does_not_start(claude: AnthropicServer, world: Listener) -> None:
    agent = gated_agent(world, agent_config={"lm_provider": "anthropic", "lm_name": "claude"})
    config = {"agent_config": {"lm_base_url": "https://evil.example.com"}}
    with pytest.raises(ValueError, match="AIP_MODEL_BASE_URLS"):
        lifecycle.start(str(agent.pk), input="go", chat_history=[], runtime_config=config)


def test_without_redis_a_model_is_not_heard_and_the_run_ends_all_the_same(
    claude: AnthropicServer, world: Listener, settings: Settings
) -> None:
    layer = settings.CHANNEL_LAYERS["default"]
    away = {"hosts": [{"address": "redis://127.0.0.1:9", "socket_connect_timeout": 2}]}
    settings.CHANNEL_LAYERS = {"default": layer | {"CONFIG": layer["CONFIG"] | away}}
    claude.scripts["claude"] = lambda _: [text("Nobody hears me. " * 50)]
    run = start(gated_agent(world, agent_config={"lm_provider": "anthropic", "lm_name": "claude"}))
    assert carried(run).status == RunStatus.SUCCEEDED
    assert end_of(run)["content"] == "Nobody hears me. " * 50

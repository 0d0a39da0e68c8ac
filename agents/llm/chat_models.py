"""Build the model that a run asks; keep the server's own keys from anybody else's server."""

import time
from collections.abc import Iterator
from functools import cache
from traceback import walk_tb
from typing import Any

from django.conf import settings
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from agents.catalog.model_names import UNLISTED, Model
from agents.llm import providers
from agents.llm.providers import ModelUnusable
from agents.llm.rehearsal import Rehearsal


def build(model: Model, listener: BaseCallbackHandler | None = None) -> BaseChatModel:
    """The chat model to ask; one that can, streams what it says to the listener. Raises ModelUnusable."""
    provider = model.provider.strip().lower().replace("-", "_")
    if model.base_url and (provider, model.base_url) not in settings.MODEL_BASE_URLS:
        raise ModelUnusable(
            f"The model server {model.base_url} is not allowed for the provider {provider}: "
            "add it to AIP_MODEL_BASE_URLS on this server."
        )
    match provider:
        case "rehearsal":
            built: BaseChatModel = Rehearsal()
        case "openai":
            built = _openai(model)
        case _ if model.provider == UNLISTED:
            raise ModelUnusable(
                f"The agent's language_model_id {model.name} is not listed on this server: "
                "give the agent a model of GET /language-models/, or add its model to AIP_MODELS."
            )
        case _:
            built = providers.build(model, provider)
    if listener is not None:
        built.callbacks = [listener]
        if "streaming" in type(built).model_fields:
            built.streaming = True  # type: ignore[attr-defined]
    return built


def _ends_in_time(response: Any) -> None:
    """Ends an answer whose server says only that it is alive, which is no piece of it and no silence either."""
    ends, read = time.monotonic() + settings.MODEL_TIMEOUT_SECONDS, response.iter_raw

    def pieces(*args: Any, **kwargs: Any) -> Iterator[bytes]:
        for piece in read(*args, **kwargs):
            if time.monotonic() > ends:
                raise ModelTimeoutError("The model did not come to an end in time.")
            yield piece

    response.iter_raw = pieces


@cache
def _openai_http() -> Any:
    """One for all runs, so that connections are kept."""
    from openai import DefaultHttpxClient

    return DefaultHttpxClient(event_hooks={"response": [_ends_in_time]})


def _openai(model: Model) -> BaseChatModel:
    # Half a second of import: only for runs that need it.
    from langchain_openai import ChatOpenAI

    if not settings.OPENAI_API_KEY:
        raise ModelUnusable(
            f"The model {model} needs a key: set OPENAI_API_KEY for the server's worker and start it again."
        )
    return ChatOpenAI(
        model=model.name,
        api_key=SecretStr(settings.OPENAI_API_KEY),
        base_url=model.base_url or settings.OPENAI_BASE_URL,
        timeout=settings.MODEL_TIMEOUT_SECONDS,
        http_client=_openai_http(),
        max_retries=1,
        use_responses_api=False,
        stream_usage=True,
        **model.hyperparameters,
    )


HTTP_LIBRARIES = {"openai", "anthropic", "httpx", "httpx2"}
ADVICE: dict[type[Exception], str] = {
    ModelTimeoutError: "it did not answer in time; try again, or raise AIP_MODEL_TIMEOUT_SECONDS",
    ModelConnectionError: "its server cannot be reached; check {url} and the network",
    ModelAuthenticationError: "it refused the server's key; check {key}",
    ModelPermissionDeniedError: "the server's key may not use it; check {key} and the model's name",
    ModelNotFoundError: "its server does not know it; check lm_name and {url}",
    ModelRateLimitError: "it gets too many requests, or its quota is used up; try again later",
    ContextOverflowError: "the conversation is longer than it can read; send less, or use another model",
    ModelInvalidRequestError: "it refused the request; check lm_name, lm_hyperparameters and the tools' schemas",
    ModelAPIError: "its server failed; try again later",
}


def explain(exc: Exception, model: Model) -> str | None:
    """Why asking the model failed, in words that say what to do; None if it was not the model's failure.

    Says the kind of failure alone: the text of a provider's error may repeat the key that it refused.
    """
    if isinstance(exc, ModelUnusable):
        return str(exc)
    named = model.provider.upper().replace("-", "_")
    settings_of = {"url": f"{named}_BASE_URL", "key": f"{named}_API_KEY"}
    libraries = {kind.__module__.partition(".")[0] for kind in type(exc).__mro__}
    frames = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(exc.__traceback__)}
    if not isinstance(exc, ModelError) and not libraries & HTTP_LIBRARIES:
        unreadable = f"The model {model} gave an answer that cannot be read; check {settings_of['url']} and lm_name."
        of_provider = any(frame.startswith("langchain_") and frame != "langchain_core" for frame in frames)
        return unreadable if of_provider else None
    advice = next((text for kind, text in ADVICE.items() if isinstance(exc, kind)), "try again later")
    return f"The model {model} gave no answer ({type(exc).__name__}): {advice.format(**settings_of)}."

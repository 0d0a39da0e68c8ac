"""Build the model that a run asks; keep the server's own keys from anybody else's server."""

import re
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
    from agents.llm.openai_protocol import OpenAIChat

    if not settings.OPENAI_API_KEY:
        raise ModelUnusable(
            f"The model {model} needs a key: set OPENAI_API_KEY for the server's worker and start it again."
        )
    return OpenAIChat(
        model=model.name,
        api_key=SecretStr(settings.OPENAI_API_KEY),
        base_url=model.base_url or settings.OPENAI_BASE_URL,
        timeout=settings.MODEL_TIMEOUT_SECONDS,
        http_client=_openai_http(),
        max_retries=0,  # see `agents.llm.retries`
        use_responses_api=False,
        stream_usage=True,
        **model.hyperparameters,
    )


# How servers that have no code for it say that a conversation is too long, and how they refuse lm_hyperparameters
# in nearly the same words.
TOO_LONG = re.compile(
    r"(maximum|exceed\w*|longer than|overflow\w*|too (long|large|many|big)).{0,100}"
    r"context[ _-]?(length|window|size|limit)"
    r"|context[ _-]?(length|window|size|limit|the).{0,100}(exceed|overflow|too (long|small)|longer)"
    r"|(prompt|input|conversation|request|messages)( length)?( \([^)]*\))? (is|are) too long"
    r"|reduce the length of the (messages|prompt|input|conversation)"
    r"|too many (input |prompt )?tokens"
    r"|(token count|number of (input |prompt )?tokens).{0,40}exceed"
    r"|input tokens exceed|longer than the maximum model length|context_length_exceeded|exceed_context_size",
    re.IGNORECASE | re.DOTALL,
)
OF_PARAMETERS = re.compile(
    r"unknown parameter|unsupported|unrecognized|"
    r"max_(completion_|output_)?tokens\W.{0,30}(is too large|must be|at most)",
    re.IGNORECASE,
)
# As much of a provider's error as is looked at.
LOOKED_AT = 4_000
TOO_LONG_STATUSES = {400, 413, 422}
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
    if _is_too_long(exc):
        return f"The model {model} gave no answer: {ADVICE[ContextOverflowError]}."
    if not isinstance(exc, ModelError) and not libraries & HTTP_LIBRARIES:
        if any(frame.startswith("langchain_") and frame != "langchain_core" for frame in frames):
            return f"The model {model} gave an answer that cannot be read; check {settings_of['url']} and lm_name."
        if _is_of_model_call(exc):
            return (
                f"The model {model} gave no answer: its server sent nothing that can be read as one, or did not stream "
                f"it; check {settings_of['url']} (is it the address of the model's API, or of a proxy?) and lm_name, "
                "or try again later."
            )
        return None
    advice = next((text for kind, text in ADVICE.items() if isinstance(exc, kind)), "try again later")
    return f"The model {model} gave no answer ({type(exc).__name__}): {advice.format(**settings_of)}."


def _is_too_long(exc: Exception) -> bool:
    """Whether a model refused the conversation for its length: by OpenAI's code, or in other servers' words."""
    if isinstance(exc, ContextOverflowError) or getattr(exc, "code", None) == "context_length_exceeded":
        return True
    said = f"{exc} {getattr(exc, 'body', '')}"[:LOOKED_AT]
    is_refusal = isinstance(exc, ModelInvalidRequestError) or getattr(exc, "status_code", 0) in TOO_LONG_STATUSES
    return is_refusal and bool(TOO_LONG.search(said)) and not OF_PARAMETERS.search(said)


def _is_of_model_call(exc: Exception) -> bool:
    """Whether LangChain itself raised it, for an answer of a model in which nothing came."""
    frames = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(exc.__traceback__)]
    return bool(frames) and frames[-1].startswith("langchain_core.language_models.")

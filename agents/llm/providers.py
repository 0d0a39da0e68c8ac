"""Models of whichever LangChain integration is installed beside the server."""

import re
from typing import Any

from django.conf import settings
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr, ValidationError

from agents.catalog.model_names import Model


class ModelUnusable(Exception):
    """The run's model cannot be asked; says what to do."""


def build(model: Model, provider: str) -> BaseChatModel:
    """A model of a provider as `init_chat_model` knows it, with the key of the server's environment.

    Raises ModelUnusable, which repeats no text of the integration: it may hold a key.
    """
    kind = type(_made(model, provider))
    accepted = {name for key, each in kind.model_fields.items() for name in (key, each.alias) if name}
    unknown = [
        name for name in (*model.hyperparameters, *(["base_url"] if model.base_url else [])) if name not in accepted
    ]
    if unknown:
        raise ModelUnusable(
            f"The model {model} takes no {unknown[0]}: leave it out of lm_hyperparameters, or lm_base_url."
        )
    options: dict[str, Any] = {"timeout": settings.MODEL_TIMEOUT_SECONDS, "max_retries": 0}
    options["client_kwargs"] = {"timeout": settings.MODEL_TIMEOUT_SECONDS}  # where there is no limit but the client's
    given = {name: value for name, value in options.items() if name in accepted}
    if "timeout" in given:
        given.pop("client_kwargs", None)
    address = {"base_url": model.base_url} if model.base_url else {}
    built = _made(model, provider, **given, **address, **model.hyperparameters)
    _check_keys(built, model)
    return built


def _made(model: Model, provider: str, **options: Any) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    try:
        made: BaseChatModel = init_chat_model(model.name, model_provider=provider, **options)
    except ImportError as e:
        package = re.search(r"pip install ([\w-]+)", str(e))
        raise ModelUnusable(
            f"The model {model} needs the Python package {package[1] if package else 'of its provider'}: "
            "install it beside the server and start the worker again."
        ) from None
    except ValueError as e:
        if "Unsupported provider" in str(e) and not isinstance(e, ValidationError):
            raise ModelUnusable(
                f"The model provider '{model.provider}' is not known to this server: "
                "use 'openai', 'rehearsal' or one that LangChain's init_chat_model knows as lm_provider."
            ) from None
        raise _not_set_up(model, e) from None
    except Exception as e:  # noqa: BLE001 - each integration has its own
        raise _not_set_up(model, e) from None
    return made


def _not_set_up(model: Model, exc: Exception) -> ModelUnusable:
    return ModelUnusable(
        f"The model {model} cannot be set up ({type(exc).__name__}): check lm_name, lm_hyperparameters, and the keys "
        f"and settings of {model.provider} in the environment of the server's worker."
    )


def _check_keys(built: BaseChatModel, model: Model) -> None:
    for name, variable in built.lc_secrets.items():
        key = getattr(built, name, None)
        if isinstance(key, SecretStr) and not key.get_secret_value():
            raise ModelUnusable(
                f"The model {model} needs a key: set {variable} for the server's worker and start it again."
            )

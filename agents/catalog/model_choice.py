"""The one way in which an agent names its model, whichever of its four ways a request takes (contract 3.2)."""

from typing import Any

from agents.catalog import model_names
from agents.catalog.configs import Config
from agents.models import Agent
from aip.core.exceptions import Invalid

# What in `agent_config` names a model, or goes with its name.
KEYS = ("lm_provider", "lm_name", "lm_base_url", "language_model")


def settle(given: dict[str, Any], stored: Agent | None, *, partial: bool) -> None:
    """Put a request's `provider` and `model_name` where they are read back from: into its `agent_config` (trap 14).

    With `partial` a request that names a model drops the other ways in which the stored agent named one, and a
    request that names none keeps it. Raises Invalid.
    """
    provider, name = given.pop("provider", None), given.pop("model_name", None)
    if bool(provider) != bool(name):
        raise Invalid("Give both provider and model_name, or neither.")
    config: Config = dict(given.get("agent_config") or {})
    is_named = bool(given.get("language_model_id") or config.get("language_model") or "lm_provider" in config)
    if not provider and not partial:
        given["agent_config"] = without_echo(config)
    elif provider and not is_named:
        before = _without_model(stored.agent_config) if partial and stored and "agent_config" not in given else {}
        given["agent_config"] = before | config | _named(provider, name, stored)
        given["language_model_id"] = None
    elif partial and stored:
        _settle_part(given, config, stored, is_named=is_named)
    else:
        given["agent_config"] = without_echo(config)


def _settle_part(given: dict[str, Any], config: Config, stored: Agent, *, is_named: bool) -> None:
    if given.get("language_model_id"):
        given["agent_config"] = _without_model(config if "agent_config" in given else stored.agent_config)
    elif is_named:
        given["agent_config"] = without_echo(config)
        given["language_model_id"] = None
    elif given.get("agent_config") is not None and "language_model_id" not in given:
        given["agent_config"] = {key: stored.agent_config[key] for key in KEYS if key in stored.agent_config} | config


def without_echo(config: Config) -> Config:
    """Without the name that an agent with an embedded model is read with; its address would be lost beside it."""
    embedded = config.get("language_model")
    if embedded and embedded["id"] == f"{config.get('lm_provider')}/{config.get('lm_name')}":
        return {key: value for key, value in config.items() if key not in ("lm_provider", "lm_name")}
    return config


def open_to(override: Config, stored: Config) -> Config:
    """The stored settings without a model that would stand before the one that a run names in another way."""
    return _without_model(stored) if override.get("language_model") and "lm_provider" not in override else stored


def _named(provider: str, name: str, stored: Agent | None) -> Config:
    """With the address that the stored agent has for this same model: the published client does not send it back."""
    named = {"lm_provider": provider, "lm_name": name}
    if stored is None or "lm_base_url" not in stored.agent_config:
        return named
    model = model_names.of_agent(stored.agent_config, stored.language_model_id)
    is_the_same = (model.provider, model.name) == (provider, name)
    return named | ({"lm_base_url": stored.agent_config["lm_base_url"]} if is_the_same else {})


def _without_model(config: Config) -> Config:
    return {key: value for key, value in config.items() if key not in KEYS}

"""The one way in which an agent names its model, whichever of its four ways a request takes (contract 3.2)."""

from typing import Any

from agents.catalog import model_names
from agents.catalog.configs import Config
from agents.models import Agent
from aip.core.exceptions import Invalid

# What in `agent_config` names a model, or goes with its name.
KEYS = ("lm_provider", "lm_name", "lm_base_url", "language_model")


def normalize(data: dict[str, Any], stored: Agent | None, *, partial: bool) -> None:
    """Move a request's `provider` and `model_name` into its `agent_config`, where they are read back from (trap 14).

    With `partial`, a request that names a model removes the other ways in which the stored agent names one, and a
    request that names none keeps the stored one. Raises Invalid.
    """
    provider, name = data.pop("provider", None), data.pop("model_name", None)
    if bool(provider) != bool(name):
        raise Invalid("Give both provider and model_name, or neither.")
    config: Config = dict(data.get("agent_config") or {})
    is_named = bool(data.get("language_model_id") or config.get("language_model") or "lm_provider" in config)
    if not provider and not partial:
        data["agent_config"] = _without_echo(config)
    elif provider and not is_named:
        before = _without_model(stored.agent_config) if partial and stored and "agent_config" not in data else {}
        data["agent_config"] = before | config | _name_of_model(provider, name, stored)
        data["language_model_id"] = None
    elif partial and stored:
        _normalize_partial(data, config, stored, is_named=is_named)
    else:
        data["agent_config"] = _without_echo(config)


def _normalize_partial(data: dict[str, Any], config: Config, stored: Agent, *, is_named: bool) -> None:
    if data.get("language_model_id"):
        data["agent_config"] = _without_model(config if "agent_config" in data else stored.agent_config)
    elif is_named:
        data["agent_config"] = _without_echo(config)
        data["language_model_id"] = None
    elif data.get("agent_config") is not None and "language_model_id" not in data:
        data["agent_config"] = {key: stored.agent_config[key] for key in KEYS if key in stored.agent_config} | config


def _without_echo(config: Config) -> Config:
    """Without the name that responses add for an embedded model: stored beside it, it would hide its address."""
    embedded = config.get("language_model")
    if embedded and embedded["id"] == f"{config.get('lm_provider')}/{config.get('lm_name')}":
        return {key: value for key, value in config.items() if key not in ("lm_provider", "lm_name")}
    return config


def without_overridden_model(stored: Config, override: Config) -> Config:
    """The stored settings, without their model if it would take precedence over the one that a run names."""
    return _without_model(stored) if override.get("language_model") and "lm_provider" not in override else stored


def _name_of_model(provider: str, name: str, stored: Agent | None) -> Config:
    """With the stored agent's address for the same model: the published client does not send it back."""
    names = {"lm_provider": provider, "lm_name": name}
    if stored is None or "lm_base_url" not in stored.agent_config:
        return names
    model = model_names.of_agent(stored.agent_config, stored.language_model_id)
    is_the_same = (model.provider, model.name) == (provider, name)
    return names | ({"lm_base_url": stored.agent_config["lm_base_url"]} if is_the_same else {})


def _without_model(config: Config) -> Config:
    return {key: value for key, value in config.items() if key not in KEYS}

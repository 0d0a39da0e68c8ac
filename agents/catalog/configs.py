"""The settings of an agent: what may stand in `agent_config` and `tool_configs`, and what a run makes of them."""

from typing import Any
from uuid import UUID

from django.conf import settings

from agents.catalog.model_names import HYPERPARAMETERS
from agents.models import Gate
from aip.core.exceptions import Invalid
from aip.core.ids import is_uuid

# What `tool_configs[<id>]` means to the server; its other entries go to the tool class as fields.
RESERVED = frozenset({"hitl", "idempotent", "destructive", "timeout_seconds"})
TOOL_TIMEOUT_SECONDS = 60
MAX_TOOL_TIMEOUT_SECONDS = 3600
# PostgreSQL counts microseconds: a request with less than one would be over before it began.
MIN_HITL_TIMEOUT_SECONDS = 0.001

Config = dict[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_seconds(value: Any, path: str, limit: int) -> None:
    if not _is_number(value) or not 0 < value <= limit:
        raise Invalid(f"{path} must be a number of seconds above 0 and at most {limit}.")


def _check_flag(config: Config, key: str, path: str) -> None:
    if key in config and not isinstance(config[key], bool):
        raise Invalid(f"{path}.{key} must be true or false.")


def by_tool_id(value: Config) -> Config:
    """`tool_configs` under the one spelling of each id, so that no gate is missed for a capital letter.

    Raises Invalid.
    """
    found: Config = {}
    for key, config in value.items():
        try:
            tool_id = str(UUID(key))
        except ValueError:
            tool_id = key
        if tool_id in found:
            raise Invalid(f"tool_configs names the tool {tool_id} twice; name it once.")
        found[tool_id] = config
    return found


def check_tool_configs(value: Config) -> None:
    """Raises Invalid."""
    for tool_id, config in value.items():
        path = f"tool_configs.{tool_id}"
        if not is_uuid(tool_id):  # most likely a gate that its author believes to be closed
            raise Invalid(f"{path} is not the id of a tool; the settings of a tool stand under its id.")
        if config is None:
            continue
        if not isinstance(config, dict):
            raise Invalid(f"{path} must be an object.")
        if misspelt := [key for key in config if key != "hitl" and key.strip().lower() == "hitl"]:
            raise Invalid(f"{path}.{misspelt[0]} is written 'hitl'.")
        hitl = config.get("hitl")
        if hitl is not None:
            if not isinstance(hitl, dict):
                raise Invalid(f'{path}.hitl must be an object, for example {{"timeout_seconds": 180}}.')
            if "timeout_seconds" in hitl:
                _check_seconds(
                    hitl["timeout_seconds"], f"{path}.hitl.timeout_seconds", settings.HITL_MAX_TIMEOUT_SECONDS
                )
        if "timeout_seconds" in config:
            _check_seconds(config["timeout_seconds"], f"{path}.timeout_seconds", MAX_TOOL_TIMEOUT_SECONDS)
        _check_flag(config, "idempotent", path)
        _check_flag(config, "destructive", path)


def check_agent_config(value: Config) -> None:
    """Raises Invalid."""
    _check_flag(value, "hitl_enabled", "agent_config")
    limit = value.get("timeout_seconds", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= settings.HITL_MAX_TIMEOUT_SECONDS:
        raise Invalid(
            "agent_config.timeout_seconds must be a whole number of seconds above 0 "
            f"and at most {settings.HITL_MAX_TIMEOUT_SECONDS}."
        )
    if ("lm_provider" in value) != ("lm_name" in value):
        raise Invalid("agent_config needs both lm_provider and lm_name, or neither.")
    for key in ("lm_provider", "lm_name"):
        if key in value and not (isinstance(value[key], str) and value[key].strip()):
            raise Invalid(f"agent_config.{key} must be a text that is not empty.")
    for key in ("lm_credentials", "lm_api_key"):
        if value.get(key):
            raise Invalid(f"agent_config.{key} is not accepted: keys are set on the server, not on an agent.")
    _check_model_server(value, "lm_base_url", "lm_hyperparameters", "agent_config")
    _check_embedded_model(value.get("language_model"))


def _check_embedded_model(model: Any) -> None:
    if model is None:
        return
    path = "agent_config.language_model"
    if not isinstance(model, dict) or not isinstance(model.get("id"), str) or "/" not in model["id"]:
        raise Invalid(f'{path} must be an object with an "id" such as "openai/gpt-4.1".')
    if model.get("credentials"):
        raise Invalid(f"{path}.credentials is not accepted: keys are set on the server, not on an agent.")
    _check_model_server(model, "base_url", "hyperparameters", path)


def _check_model_server(config: Config, url_key: str, parameters_key: str, path: str) -> None:
    url = config.get(url_key)
    if url is not None and all(url != listed for _, listed in settings.MODEL_BASE_URLS):
        raise Invalid(
            f"{path}.{url_key} is not one that this server allows: its administrator lists them in AIP_MODEL_BASE_URLS."
        )
    parameters = config.get(parameters_key)
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise Invalid(f"{path}.{parameters_key} must be an object.")
    for name, value in parameters.items():
        if name not in HYPERPARAMETERS:
            known = ", ".join(HYPERPARAMETERS)
            raise Invalid(f"{path}.{parameters_key}.{name} is not accepted; known are {known}.")
        if not isinstance(value, HYPERPARAMETERS[name]) or isinstance(value, bool):
            kinds = " or ".join(kind.__name__ for kind in HYPERPARAMETERS[name])
            raise Invalid(f"{path}.{parameters_key}.{name} must be of the type {kinds}.")


def merged(stored: Any, override: Any) -> Any:
    """`override` over `stored`, key by key at every depth."""
    if isinstance(stored, dict) and isinstance(override, dict):
        return {**stored, **{key: merged(stored.get(key), value) for key, value in override.items()}}
    return override


def is_gated(agent_config: Config, tool_config: Config | None) -> bool:
    """Whether the agent has the tool's calls wait for a person (contract 3.5)."""
    return agent_config.get("hitl_enabled") is True and has_gate(tool_config)


def has_gate(tool_config: Any) -> bool:
    """Whether an entry of `tool_configs` has a gate, whatever the agent's master switch says."""
    return isinstance(tool_config, dict) and isinstance(tool_config.get("hitl"), dict)


def hitl_timeout(agent_config: Config, tool_config: Config, gate: str) -> float | None:
    """Seconds for which a call of the tool waits for a decision; None if it runs without asking.

    `gate` is the tool's own: with `ask` it waits, whatever agent and run say.
    """
    if gate != Gate.ASK and not is_gated(agent_config, tool_config):
        return None
    hitl = tool_config.get("hitl") or {}
    return max(float(hitl.get("timeout_seconds", settings.HITL_DEFAULT_TIMEOUT_SECONDS)), MIN_HITL_TIMEOUT_SECONDS)

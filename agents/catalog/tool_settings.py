"""The settings that agent and run give to a tool, as people are shown them and as the seal of a call covers them."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from django.utils.crypto import salted_hmac

from aip.core.jsonb import canonical

MASK = "********"
SECRET_NAME = re.compile("key|token|secret|password", re.IGNORECASE)
# Of the reserved entries of `tool_configs` those that change how a call runs.
COVERED = ("timeout_seconds", "idempotent")


def record(entries: dict[str, Any], *, by_run: Collection[str], secrets: Collection[str]) -> dict[str, Any]:
    """By name: the `value`, a secret one masked with its keyed `digest` beside it, and who has `set_by`."""
    return {
        name: _shown(name, value, secrets) | {"set_by": "run" if name in by_run else "agent"}
        for name, value in sorted(entries.items())
    }


def is_secret(name: str, secrets: Collection[str]) -> bool:
    """By the name of a setting; `secrets` are those that are secret by their type."""
    return name in secrets or bool(SECRET_NAME.search(name))


def secret_texts(value: Any, secrets: Collection[str] = (), *, within: bool = False) -> Iterator[str]:
    """The secret values among settings, at any depth, as texts. `within`: all of `value` is secret."""
    match value:
        case dict():
            for name, entry in value.items():
                yield from secret_texts(entry, within=within or is_secret(name, secrets))
        case list():
            for entry in value:
                yield from secret_texts(entry, within=within)
        case _ if within and value is not None:
            yield str(value)


def _shown(name: str, value: Any, secrets: Collection[str]) -> dict[str, Any]:
    masked = MASK if is_secret(name, secrets) else _masked(value)
    if masked == value:
        return {"value": value}
    digest = salted_hmac("agents.catalog.tool_settings", canonical(value), algorithm="sha256").hexdigest()
    return {"value": masked, "digest": digest}


def _masked(value: Any) -> Any:
    """The value without the secrets that stand within it by their names."""
    match value:
        case dict():
            return {key: MASK if SECRET_NAME.search(key) else _masked(entry) for key, entry in value.items()}
        case list():
            return [_masked(entry) for entry in value]
        case _:
            return value

"""Keys of an agent's JSON that are not read and are close to ones that are: most likely a gate that gates nothing."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

from agents.catalog import configs

# How alike two names are, of 1, without capitals and signs.
CLOSE = 0.85
# No name is longer; comparing takes time. Of all keys the first are looked at, and of what is found the first is told.
MAX_KEY = 50
MAX_KEYS = 1000
MAX_FOUND = 20

AGENT_CONFIG = (
    "hitl_enabled", "timeout_seconds", "language_model", "lm_provider", "lm_name", "lm_base_url", "lm_hyperparameters",
    "lm_credentials", "lm_api_key",
)  # fmt: skip
# Where gates stand, for a key that is in another place.
GATES = {
    "agentconfig": "agent_config",
    "toolconfigs": "tool_configs",
    "hitlenabled": "agent_config.hitl_enabled",
    "hitl": "tool_configs.<tool id>.hitl",
}

Place = tuple[str, Any, Collection[str]]


def misspelt(body: dict[str, Any], fields: Collection[str]) -> list[str]:
    """A sentence for each such key of a request, whose own fields are `fields`; it says what to write instead."""
    keys = ((path, key, known) for path, value, known in _places(body, fields) for key in _keys(value))
    return list(islice(_sentences(islice(keys, MAX_KEYS)), MAX_FOUND))


def _places(body: dict[str, Any], fields: Collection[str]) -> Iterator[Place]:
    yield "", body, fields
    yield "agent_config.", body.get("agent_config"), AGENT_CONFIG
    for tool_id, entry in (body.get("tool_configs") or {}).items():
        path = f"tool_configs.{tool_id}."
        yield path, entry, configs.RESERVED
        yield f"{path}hitl.", (entry or {}).get("hitl"), ("timeout_seconds",)


def _keys(value: Any) -> Iterator[str]:
    yield from value if isinstance(value, dict) else ()


def _sentences(keys: Iterator[tuple[str, str, Collection[str]]]) -> Iterator[str]:
    for path, key, known in keys:
        if key not in known and len(key) <= MAX_KEY and (right := _meant(path, key, known)):
            yield f"{path}{key} is not read: write {right}."


def _meant(path: str, key: str, known: Collection[str]) -> str | None:
    plain = _plain(key)
    names = {_plain(name): f"{path}{name}" for name in known}
    if own := get_close_matches(plain, names, n=1, cutoff=CLOSE):
        return names[own[0]]
    if gate := get_close_matches(plain, GATES, n=1, cutoff=CLOSE):
        return GATES[gate[0]]
    return f"{GATES['hitlenabled']} and {GATES['hitl']}" if "hitl" in plain else None


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())

"""Arguments that a person gives in place of the model's: whether the tool accepts them, field by field."""

import json
import logging
import subprocess
import sys
from decimal import Decimal
from typing import Any

from django.conf import settings
from jsonschema import Draft202012Validator
from referencing import Registry

from aip.core.jsonb import canonical, storable
from hitl.schema_process import MAX_ERRORS, NON_FIELD, Errors, Schema
from hitl.seal import Arguments

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 1_000_000
# A very busy machine can take long to start it; `hitl.schema_process` has its own limit.
CHECKER_SECONDS = 20
# What can make a check slow, or depends on a library; where an argument has such a name, it costs a process.
SLOW = frozenset({"pattern", "patternProperties", "uniqueItems", "format", "$dynamicRef", "$recursiveRef", "allOf"})
# Where a schema has one of these, its properties alone do not say which arguments there are.
OPEN = ("additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf")


def as_stored(arguments: Arguments) -> Arguments:
    """`arguments` as they are read back from PostgreSQL's jsonb, so that a seal is the same before and after.

    It writes large floats without an exponent, which makes them whole numbers, and has no negative zero.
    """
    found: Arguments = _as_stored(storable(arguments))
    return found


def _as_stored(value: Any) -> Any:
    match value:
        case float():
            text = repr(value)
            return int(Decimal(text)) if "e+" in text else value + 0.0
        case dict():
            return {key: _as_stored(entry) for key, entry in value.items()}
        case list():
            return [_as_stored(entry) for entry in value]
        case _:
            return value


def properties(schema: Schema) -> dict[str, Any]:
    """What a schema says of each argument; an uploader's schema may say nothing, or nonsense."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def required(schema: Schema) -> list[str]:
    found = schema.get("required")
    return found if isinstance(found, list) else []


def unknown(schema: Schema, arguments: Arguments, asked: Arguments) -> Errors:
    """The arguments that the schema does not name, as errors; what the model had asked with may stay as it was."""
    if len(canonical(arguments)) > MAX_CHARACTERS:
        return {NON_FIELD: [f"These arguments are longer than {MAX_CHARACTERS:,} characters of JSON."]}
    strange = [
        name
        for name in arguments
        if not _knows(schema, name) and (name not in asked or canonical(arguments[name]) != canonical(asked[name]))
    ]
    return {name: ["The tool has no argument of this name."] for name in strange[:MAX_ERRORS]}


def fits(schema: Schema, arguments: Arguments) -> bool:
    """Whether arguments fit a schema that can be used within this process: one whose check cannot take for ever.

    False also where the schema is not such a one.
    """
    if len(canonical(arguments)) > MAX_CHARACTERS // 10 or not _is_harmless(schema):
        return False
    try:
        return bool(Draft202012Validator(schema, registry=Registry()).is_valid(arguments))
    except Exception:  # noqa: BLE001 - a schema is an uploader's, and may be wrong in any way
        return False


def _is_harmless(part: Any) -> bool:
    if isinstance(part, dict):
        return not SLOW & part.keys() and all(map(_is_harmless, part.values()))
    return all(map(_is_harmless, part)) if isinstance(part, list) else True


def _knows(schema: Schema, name: str) -> bool:
    return name in properties(schema) or any(schema.get(keyword, False) is not False for keyword in OPEN)


def check(schema: Schema, arguments: Arguments, asked: Arguments) -> Errors:
    """What is wrong with `arguments`, by a JSON Schema; empty if nothing is.

    What the model had asked with and the schema does not name may stay as it was.
    """
    named = {name: value for name, value in arguments.items() if _knows(schema, name)}
    return unknown(schema, arguments, asked) or _check(schema, named)


def _check(schema: Schema, arguments: Arguments) -> Errors:
    """In a process of its own: a schema comes from an uploader and can make the check run for ever in many ways."""
    try:
        checked = subprocess.run(
            [sys.executable, "-m", "hitl.schema_process"],
            input=json.dumps([schema, arguments]).encode(),
            stdout=subprocess.PIPE,
            cwd=settings.BASE_DIR,
            env={},  # it needs nothing of the server's, secrets least of all
            timeout=CHECKER_SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        logger.warning("Arguments could not be checked: %s", e)
        return {NON_FIELD: ["The tool's schema takes too long to check them."]}
    errors: Errors = json.loads(checked.stdout)
    return errors

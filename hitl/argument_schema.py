"""Arguments that a person gives in place of a tool's own: whether the tool takes them, field by field."""

import json
import logging
import subprocess
import sys
from decimal import Decimal
from typing import Any

from django.conf import settings

from aip.core.jsonb import canonical, storable
from hitl.schema_process import MAX_ERRORS, WHOLE, Errors, Schema
from hitl.seal import Arguments

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 1_000_000
# A machine that is very busy may take long to start it; `hitl.schema_process` has a limit of its own.
CHECKER_SECONDS = 20
# Where a schema has one of these, its properties alone do not say which arguments there are.
OPEN = ("additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf")


def settled(arguments: Arguments) -> Arguments:
    """`arguments` as they come back from PostgreSQL's jsonb, so that a seal is the same before and after.

    It writes large floats without an exponent, which makes them whole numbers, and knows no negative zero.
    """
    found: Arguments = _settled(storable(arguments))
    return found


def _settled(value: Any) -> Any:
    match value:
        case float():
            text = repr(value)
            return int(Decimal(text)) if "e+" in text else value + 0.0
        case dict():
            return {key: _settled(entry) for key, entry in value.items()}
        case list():
            return [_settled(entry) for entry in value]
        case _:
            return value


def properties(schema: Schema) -> dict[str, Any]:
    """What a schema says of each argument; an uploader's schema may say nothing, or nonsense."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def required(schema: Schema) -> list[str]:
    found = schema.get("required")
    return found if isinstance(found, list) else []


def check(schema: Schema, arguments: Arguments, asked: Arguments) -> Errors:
    """What is wrong with `arguments`, by the tool's JSON Schema; empty if nothing is.

    What the model had asked with and the schema does not name may stay as it was.
    """
    if len(canonical(arguments)) > MAX_CHARACTERS:
        return {WHOLE: [f"These arguments are longer than {MAX_CHARACTERS:,} characters of JSON."]}
    unknown = [name for name in arguments if not _knows(schema, name)]
    strange = [name for name in unknown if name not in asked or canonical(arguments[name]) != canonical(asked[name])]
    if strange:
        return {name: ["The tool has no argument of this name."] for name in strange[:MAX_ERRORS]}
    return _check(schema, {name: value for name, value in arguments.items() if name not in unknown})


def _knows(schema: Schema, name: str) -> bool:
    return name in properties(schema) or any(schema.get(word, False) is not False for word in OPEN)


def _check(schema: Schema, arguments: Arguments) -> Errors:
    """By a process of its own: a schema is an uploader's, and may take for ever in many ways."""
    try:
        checked = subprocess.run(
            [sys.executable, "-m", "hitl.schema_process"],
            input=json.dumps([schema, arguments]).encode(),
            stdout=subprocess.PIPE,
            cwd=settings.BASE_DIR,
            timeout=CHECKER_SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        logger.warning("Arguments could not be checked: %s", e)
        return {WHOLE: ["The tool's schema takes too long to check them."]}
    errors: Errors = json.loads(checked.stdout)
    return errors

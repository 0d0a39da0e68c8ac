"""Arguments that a person gives in place of a tool's own: whether the tool takes them, field by field."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

from hitl.seal import Arguments, canonical, storable

Schema = dict[str, Any]
# By argument, what is wrong with it; what no argument is to blame for stands under WHOLE.
Errors = dict[str, list[str]]

# As DRF calls it, whose sentences leave it out.
WHOLE = "non_field_errors"
MAX_CHARACTERS = 1_000_000
MAX_ERROR_CHARACTERS = 300
MAX_ERRORS = 50
PATTERN_SECONDS = 0.2
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
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
    found: Errors = {}
    try:
        # A registry of its own: the library's default one reads schemas from wherever a `$ref` points to.
        validator = extend(_draft(schema), {"pattern": _pattern})(schema, registry=Registry())
        for error in validator.iter_errors(arguments):
            for name, why in _told(error):
                found.setdefault(name, []).append(why)
            if len(found) >= MAX_ERRORS:
                break
    except Exception as e:  # noqa: BLE001 - a schema is an uploader's, and may be wrong in any way
        return {WHOLE: [f"The tool's schema cannot be used to check them ({type(e).__name__})."]}
    return {name: list(dict.fromkeys(whys)) for name, whys in found.items()}


def _draft(schema: Schema) -> Any:
    return validator_for(schema, default=Draft202012Validator)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    """The library's, but for expressions that take for ever."""
    if not validator.is_type(instance, "string"):
        return
    try:
        if not regex.search(pattern, instance, timeout=PATTERN_SECONDS):
            yield ValidationError(f"it does not match the pattern {pattern}")
    except TimeoutError:
        yield ValidationError("its pattern takes too long to check")


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    """The argument that an error is about, and what is wrong with it."""
    path = [str(step) for step in error.absolute_path]
    if error.validator == "required" and not path:
        yield from (
            (name, "This argument is required.") for name in error.validator_value if name not in error.instance
        )
        return
    name, inside = (path[0], ".".join(path[1:])) if path else (WHOLE, "")
    yield name, f"{inside}: {_why(error)}" if inside else _why(error)


def _why(error: ValidationError) -> str:
    # Of alternatives (`anyOf`) each says what it misses.
    texts = [_sentence(each) for each in error.context or [error]]
    return " or ".join(dict.fromkeys(texts))[:MAX_ERROR_CHARACTERS]


def _sentence(error: ValidationError) -> str:
    value = json.dumps(error.instance, ensure_ascii=False)
    shown = value if len(value) <= 60 else f"{value[:60]}..."
    limit = error.validator_value
    match error.validator:
        case "type":
            return f"{shown} is not of the type {limit if isinstance(limit, str) else ' or '.join(limit)}."
        case "enum":
            return f"{shown} is not one of {', '.join(json.dumps(each, ensure_ascii=False) for each in limit)}."
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return f"{shown} must be {BOUNDS[str(error.validator)]} {limit}."
        case "minLength" | "maxLength":
            bound = "at least" if error.validator == "minLength" else "at most"
            return f"It has {len(error.instance):,} characters; {bound} {limit:,} are allowed."
        case _:
            return str(error.message)[:MAX_ERROR_CHARACTERS]

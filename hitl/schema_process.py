"""A separate program: reads `[schema, arguments]` from stdin and writes what is wrong with the arguments to stdout.

A regular expression, a schema that refers to itself or a million entries can keep it busy for ever, so it limits its
own processor time and memory.
"""

import json
import resource
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

Schema = dict[str, Any]
# What is wrong with each argument; under NON_FIELD, what is wrong with the arguments as a whole.
Errors = dict[str, list[str]]

# As DRF calls it, whose sentences leave it out.
NON_FIELD = "non_field_errors"
MAX_ERROR_CHARACTERS = 300
MAX_ERRORS = 50
PROCESSOR_SECONDS = 2.0
MEMORY_BYTES = 512 * 1024**2
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    schema, arguments = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_VIRTUAL, PROCESSOR_SECONDS)  # its signal ends us, within an expression too
    json.dump(find_errors(schema, arguments), sys.stdout)


def find_errors(schema: Schema, arguments: dict[str, Any]) -> Errors:
    found: Errors = {}
    try:
        # A registry of its own: the library's default one reads schemas from wherever a `$ref` points to.
        validator = extend(_draft(schema), {"pattern": _pattern})(schema, registry=Registry())
        for error in islice(validator.iter_errors(arguments), MAX_ERRORS):
            for name, why in _by_argument(error):
                found.setdefault(name, []).append(why)
    except Exception as e:  # noqa: BLE001 - a schema is an uploader's, and may be wrong in any way
        return {NON_FIELD: [f"The tool's schema cannot be used to check them ({type(e).__name__})."]}
    return {name: list(dict.fromkeys(whys)) for name, whys in found.items()}


def _draft(schema: Schema) -> Any:
    return validator_for(schema, default=Draft202012Validator)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    """The library's, but for the expressions that pydantic's patterns may have and Python's may not."""
    if validator.is_type(instance, "string") and not regex.search(pattern, instance):
        yield ValidationError(f"it does not match the pattern {pattern}")


def _by_argument(error: ValidationError) -> Iterator[tuple[str, str]]:
    """The argument that an error is about, and what is wrong with it."""
    path = [str(step) for step in error.absolute_path]
    if error.validator == "required" and not path:
        yield from (
            (name, "This argument is required.") for name in error.validator_value if name not in error.instance
        )
        return
    name, inside = (path[0], ".".join(path[1:])) if path else (NON_FIELD, "")
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


if __name__ == "__main__":
    main()

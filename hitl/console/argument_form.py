"""A tool's arguments as a form made from its schema, and back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from aip.core.json_input import read_json
from aip.core.jsonb import canonical, storable
from aip.core.text import INVISIBLE, visible
from hitl.argument_schema import properties, required
from hitl.schema_process import Errors, Schema
from hitl.seal import Arguments

PREFIX = "argument."
NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
UNKNOWN = "The model gave this argument, and the tool does not know it. Empty it to leave it out."


class InputKind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    JSON = "json"


@dataclass(frozen=True)
class ArgumentField:
    """One argument in a form. `value` is the content of its input, `choices` are value and label of a list's lines."""

    name: str
    input_name: str
    label: str
    help: str
    kind: InputKind
    value: str
    choices: tuple[tuple[str, str], ...]
    required: bool
    errors: tuple[str, ...]
    # What the tool uses where the field is left empty; None where it has no value of its own.
    default: str | None = None


def fields(
    schema: Schema,
    asked: Arguments,
    posted: Mapping[str, str] | None = None,
    errors: Errors | None = None,
    *,
    defaults: Arguments | None = None,
) -> list[ArgumentField]:
    """The form's fields: with the arguments asked, or with what was typed and the errors in it.

    The order is the schema's; arguments that it does not have come last.
    """
    known = properties(schema)
    names = [*known, *(name for name in asked if name not in known)]
    found = [_field(schema, name, asked, posted or {}, (errors or {}).get(name, [])) for name in names]
    return [replace(field, default=_default(defaults or {}, field.name)) for field in found]


def _default(defaults: Arguments, name: str) -> str | None:
    if name not in defaults:
        return None
    value = defaults[name]
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def read_arguments(schema: Schema, asked: Arguments, posted: Mapping[str, str]) -> tuple[Arguments, Errors]:
    """The arguments in a form, and an error for each field that cannot be read.

    A field that was not changed keeps its exact value, however the form would write it.
    """
    found: Arguments = {}
    errors: Errors = {}
    for field in fields(schema, asked):
        typed = _lines(posted.get(field.input_name, field.value))
        if typed == _lines(field.value):
            if field.name in asked:
                found[field.name] = asked[field.name]
            continue
        try:
            if (value := _read_input(schema, field, typed)) is not MISSING:
                found[field.name] = value
        except ValueError as e:
            errors[field.name] = [str(e)]
    return found, errors


MISSING: Any = object()


def _lines(text: str) -> str:
    """A browser sends each end of a line as CR and LF."""
    return text.replace("\r\n", "\n")


def _described(schema: Schema, name: str) -> tuple[Schema, bool]:
    """The schema of an argument, and whether it may be null: through a reference and `X or null`."""
    described = _resolved(schema, properties(schema).get(name))
    branches = described.get("anyOf")
    if not isinstance(branches, list):
        return described, described.get("type") == "null"
    others = [_resolved(schema, branch) for branch in branches if branch != {"type": "null"}]
    if len(others) == 1 and len(branches) == 2:
        return {**others[0], **{key: value for key, value in described.items() if key != "anyOf"}}, True
    return described, len(others) < len(branches)


def _resolved(schema: Schema, described: Any) -> Schema:
    if not isinstance(described, dict):
        return {}
    reference = described.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return described
    defined = schema.get("$defs")
    target = defined.get(reference.removeprefix("#/$defs/")) if isinstance(defined, dict) else None
    return {**target, **described} if isinstance(target, dict) else described


def _field(schema: Schema, name: str, asked: Arguments, posted: Mapping[str, str], errors: list[str]) -> ArgumentField:
    described, _ = _described(schema, name)
    value = asked.get(name, MISSING)
    kind = _kind(described, value)
    input_name = f"{PREFIX}{name}"
    help_text = str(described.get("description") or "") if name in properties(schema) else UNKNOWN
    return ArgumentField(
        name=name,
        input_name=input_name,
        label=visible(str(described.get("title") or name)),
        help=visible(help_text),
        kind=kind,
        value=posted.get(input_name, _spelled(kind, value)),
        choices=_choices(kind, described),
        required=name in required(schema),
        errors=tuple(errors),
    )


def _kind(described: Schema, value: Any) -> InputKind:
    """By the schema, if the argument asked fits into such an input; else it is edited as JSON."""
    is_empty = value is MISSING or value is None
    enum = described.get("enum")
    if isinstance(enum, list) and enum:
        fits = is_empty or canonical(value) in [canonical(each) for each in enum]
        return InputKind.ENUM if fits else InputKind.JSON
    match described.get("type"):
        case "string":
            # An input would hide what is invisible, or change it.
            fits = is_empty or (isinstance(value, str) and not INVISIBLE.search(_lines(value)))
            return InputKind.TEXT if fits else InputKind.JSON
        case "boolean":
            return InputKind.BOOLEAN if is_empty or isinstance(value, bool) else InputKind.JSON
        case "integer" | "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return InputKind.NUMBER if is_empty or is_number else InputKind.JSON
        case _:
            return InputKind.JSON


def _spelled(kind: InputKind, value: Any) -> str:
    if value is MISSING or (value is None and kind != InputKind.JSON):
        return ""
    if kind == InputKind.TEXT:
        return str(value)
    if kind != InputKind.JSON:
        return canonical(value)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return json.dumps(value, indent=2) if INVISIBLE.search(text) else text


def _choices(kind: InputKind, described: Schema) -> tuple[tuple[str, str], ...]:
    values = {InputKind.BOOLEAN: [True, False], InputKind.ENUM: described.get("enum", [])}.get(kind)
    if values is None:
        return ()
    labels = [(canonical(v), visible(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))) for v in values]
    return (("", "-"), *labels)


def _read_input(schema: Schema, field: ArgumentField, typed: str) -> Any:
    """The value of an input that was changed; MISSING to leave the argument out. Raises ValueError."""
    may_be_null = _described(schema, field.name)[1]
    if field.kind == InputKind.TEXT:
        return None if typed == "" and may_be_null else storable(typed)
    typed = typed.strip()
    if not typed:
        return None if may_be_null and field.required else MISSING
    match field.kind:
        case InputKind.NUMBER:
            return _number(typed)
        case InputKind.JSON:
            return read_json(typed.encode("utf-8", "surrogatepass"), "This")
        case _:
            if typed not in [value for value, _ in field.choices]:
                raise ValueError("Choose one of the list.")
            return json.loads(typed)


def _number(typed: str) -> int | float:
    found = NUMBER.fullmatch(typed)
    if not found:
        raise ValueError("This must be a number, such as 12 or 0.5.")
    value = float(typed) if found[1] or found[2] else int(typed)
    if value in (float("inf"), float("-inf")):
        raise ValueError("This number is too large.")
    return value

"""A tool's arguments as a form and back: nothing typed is lost, nothing untouched is changed."""

from typing import Any

import pytest

from hitl.argument_schema import check
from hitl.console.argument_form import InputKind, fields, read_arguments

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["to", "copies", "colour"],
    "$defs": {"Colour": {"enum": ["red", "green"], "type": "string"}},
    "properties": {
        "to": {"type": "string", "title": "To", "description": "Address"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "copies": {"type": "integer"},
        "weight": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "urgent": {"type": "boolean", "default": False},
        "colour": {"$ref": "#/$defs/Colour"},
        "size": {"enum": [1, 2, "big"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
}
ASKED: dict[str, Any] = {"to": "jane\r\nroe", "copies": 2, "colour": "red", "tags": ["a", "b"]}


def kinds(schema: dict[str, Any], asked: dict[str, Any]) -> dict[str, InputKind]:
    return {field.name: field.kind for field in fields(schema, asked)}


def posted(**changes: str) -> dict[str, str]:
    """What a browser sends: every field, with its line ends."""
    values = {field.name: field.value for field in fields(SCHEMA, ASKED)} | changes
    return {f"argument.{name}": value.replace("\r\n", "\n").replace("\n", "\r\n") for name, value in values.items()}


def test_every_argument_has_the_input_that_fits_it() -> None:
    assert kinds(SCHEMA, ASKED) == {
        "to": InputKind.TEXT,
        "note": InputKind.TEXT,
        "copies": InputKind.NUMBER,
        "weight": InputKind.NUMBER,
        "urgent": InputKind.BOOLEAN,
        "colour": InputKind.ENUM,
        "size": InputKind.ENUM,
        "tags": InputKind.JSON,
        "either": InputKind.JSON,
    }
    to, *_ = fields(SCHEMA, ASKED)
    assert (to.label, to.help, to.required, to.input_name) == ("To", "Address", True, "argument.to")


@pytest.mark.parametrize(
    ("name", "value"),
    [("to", 1), ("to", "a\u202eb"), ("to", "a\rb"), ("copies", "2"), ("copies", True), ("urgent", 1), ("size", 3)],
)
def test_what_does_not_fit_its_input_is_edited_as_json(name: str, value: Any) -> None:
    asked = ASKED | {name: value}
    (field,) = [field for field in fields(SCHEMA, asked) if field.name == name]
    assert field.kind == InputKind.JSON
    assert "\u202e" not in field.value


@pytest.mark.parametrize(
    "asked",
    [
        ASKED,
        ASKED | {"note": None, "weight": None, "made_up": {"by": ["the model"]}},
        {"to": "", "copies": 1e23, "weight": 1.0, "urgent": False, "size": "big"},
        {"to": "\n two\n", "note": "", "either": "5", "copies": "many", "colour": "blue"},
        {},
    ],
    ids=str,
)
def test_a_form_that_nobody_touched_gives_exactly_what_was_asked(asked: dict[str, Any]) -> None:
    sent = {field.input_name: field.value.replace("\n", "\r\n") for field in fields(SCHEMA, asked)}
    found, errors = read_arguments(SCHEMA, asked, sent)
    assert ({name: repr(value) for name, value in found.items()}, errors) == (
        {name: repr(value) for name, value in asked.items()},
        {},
    )
    assert read_arguments(SCHEMA, asked, {}) == (asked, {})


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("to", "two\nlines", "two\nlines"),
        ("to", "", ""),
        ("note", "new", "new"),
        ("copies", " 3 ", 3),
        ("copies", "-3", -3),
        ("weight", "2.5", 2.5),
        ("weight", "1e3", 1000.0),
        ("urgent", "true", True),
        ("colour", '"green"', "green"),
        ("size", "2", 2),
        ("tags", '["c", 1]', ["c", 1]),
        ("either", '"5"', "5"),
    ],
)
def test_what_is_typed_becomes_the_value(name: str, typed: str, value: Any) -> None:
    found, errors = read_arguments(SCHEMA, ASKED, posted(**{name: typed}))
    assert (found[name], type(found[name]), errors) == (value, type(value), {})
    assert {key: found.get(key) for key in ASKED if key != name} == {k: v for k, v in ASKED.items() if k != name}


@pytest.mark.parametrize(("name", "typed"), [("copies", ""), ("tags", " "), ("colour", "")])
def test_an_emptied_field_leaves_its_argument_out(name: str, typed: str) -> None:
    found, errors = read_arguments(SCHEMA, ASKED, posted(**{name: typed}))
    assert (name in found, errors) == (False, {})
    required = name in SCHEMA["required"]
    assert (name in check(SCHEMA, found, ASKED)) == required


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("copies", "three", "must be a number"),
        ("copies", "1_000", "must be a number"),
        ("copies", "٣", "must be a number"),
        ("copies", "1,5", "must be a number"),
        ("weight", "nan", "must be a number"),
        ("weight", "1e999", "too large"),
        ("copies", "9" * 5000, "must be a number"),
        ("urgent", "yes", "one of the list"),
        ("colour", '"blue"', "one of the list"),
        ("tags", "[1,", "not valid JSON"),
        ("tags", "[" * 100_000, "nested"),
        ("tags", "[" * 200 + "]" * 200, "nested"),
        ("tags", '{"a": 1, "a": 2}', "twice"),
        ("tags", '["\\u0000"]', "NUL"),
        ("tags", "1" * 5000, "digits"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_read_says_why_and_stays_as_it_was_typed(name: str, typed: str, words: str) -> None:
    sent = posted(**{name: typed})
    _, errors = read_arguments(SCHEMA, ASKED, sent)
    assert list(errors) == [name]
    (again,) = [field for field in fields(SCHEMA, ASKED, sent, errors) if field.errors]
    assert words in again.errors[0]
    assert again.value == typed


def test_what_the_model_made_up_can_be_left_out() -> None:
    asked = ASKED | {"mood": "cheerful"}
    *_, made_up = fields(SCHEMA, asked)
    assert (made_up.name, made_up.kind, "does not know it" in made_up.help) == ("mood", InputKind.JSON, True)
    assert read_arguments(SCHEMA, asked, {"argument.mood": ""}) == (ASKED, {})


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": 1, "required": True, "$defs": []},
        {"properties": {"to": 1}},
        {"properties": {"to": {"$ref": "#/$defs/X"}}, "$defs": []},
        {"properties": {"to": {"anyOf": [1, {"type": "null"}], "enum": []}}},
        {"properties": {"to": {"type": ["string", "null"], "title": 5, "description": {}}}},
    ],
    ids=str,
)
def test_a_schema_that_says_nonsense_still_makes_a_form(schema: dict[str, Any]) -> None:
    assert read_arguments(schema, {"to": "jane"}, {"argument.to": '"bob"'})[0] == {"to": "bob"}
    check(schema, {"to": "bob"}, {"to": "jane"})

"""Arguments against a tool's schema, however odd the schema is."""

import time
from typing import Any

import pytest

from hitl.argument_schema import check
from hitl.schema_process import NON_FIELD


def of(name: str, **schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}}


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"enum": ["red", "green"]}, "blue", '"blue" is not one of "red", "green"'),
        ({"exclusiveMinimum": 0}, 0, "0 must be above 0"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "two"], '1: "two" is not of the type integer'),
        ({"$ref": "#/$defs/Size"}, "small", "not of the type integer"),
        ({"type": "object", "required": ["city"]}, {}, "'city' is a required property"),
        ({"minLength": 3}, "ab", "It has 2 characters; at least 3 are allowed"),
    ],
)
def test_it_says_what_is_wrong_and_where(schema: Any, value: Any, words: str) -> None:
    found = check(of("x", **schema) | {"$defs": {"Size": {"type": "integer"}}}, {"x": value}, {})
    assert words in " ".join(found["x"])


def test_several_fields_are_told_at_once() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["c"]}
    assert set(check(schema, {"a": "x", "b": 1}, {})) == {"a", "b", "c"}


def test_arguments_of_any_name_are_taken_where_the_schema_says_so() -> None:
    open_schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert check(open_schema, {"anything": 1}, {}) == {}
    assert "anything" in check(open_schema, {"anything": "x"}, {})
    assert "anything" in check({"type": "object"}, {"anything": 1}, {})
    assert "anything" in check(of("x") | {"additionalProperties": False}, {"anything": 1}, {})


@pytest.mark.parametrize(
    "schema",
    [
        of("x", type="nonsense"),
        of("x", **{"$ref": "#/nowhere"}),
        of("x", **{"$ref": "http://127.0.0.1:9/schema.json"}),
        of("x", **{"$ref": "#/properties/x"}),
        of("x", pattern="("),
        {"type": "object", "properties": {"x": 1}},
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_used_refuses_the_edit_and_breaks_nothing(schema: Any) -> None:
    assert "cannot be used" in check(schema, {"x": "y"}, {})[NON_FIELD][0]


SLOW = "^(a|aa)+$"
LONG = "a" * 200 + "!"
TWICE = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)} | {"d40": {}}


@pytest.mark.timeout(60)  # else it would take years
@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (of("x", pattern=SLOW), {"x": LONG}),
        (of("x", items={"pattern": SLOW}), {"x": [LONG] * 1000}),
        ({"patternProperties": {SLOW: {}}}, {LONG: 1}),
        ({"patternProperties": {SLOW: {}}, "additionalProperties": False}, {LONG: 1}),
        ({"patternProperties": {SLOW: {}}, "unevaluatedProperties": False}, {LONG: 1}),
        (of("x", uniqueItems=True), {"x": [{"a": i} for i in range(50_000)]}),
        (of("x", **{"$ref": "#/$defs/d0"}) | {"$defs": TWICE}, {"x": 1}),
    ],
    ids=[
        "pattern",
        "items",
        "patternProperties",
        "additionalProperties",
        "unevaluatedProperties",
        "unique",
        "doubling",
    ],
)
def test_a_check_that_takes_for_ever_is_given_up(schema: Any, arguments: Any) -> None:
    began = time.monotonic()
    assert "takes too long" in check(schema, arguments, {})[NON_FIELD][0]
    assert time.monotonic() - began < 20


def test_a_pattern_may_be_one_that_pydantic_knows_and_python_does_not() -> None:
    assert check(of("x", pattern=r"^\p{Lu}"), {"x": "\u00c4rger"}, {}) == {}
    assert "does not match the pattern" in check(of("x", pattern=r"^\p{Lu}"), {"x": "no"}, {})["x"][0]

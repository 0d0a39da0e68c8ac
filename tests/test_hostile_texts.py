"""Texts and schemas that others wrote cost what their length costs, and no more."""

import re
from typing import Any

import pytest

from agents.llm import chat_models
from agents.sandbox import client as sandbox
from agents.sandbox.manifest import ToolRejected
from agents.sandbox.tool_schema import MAX_NODES, Resolver, SchemaTooLarge
from hitl.console import argument_display
from hitl.console.argument_display import DisplayKind, displayed

LONG = 1_000_000


class Watched:
    """A pattern that keeps the length of each text it sees."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.lengths: list[int] = []

    def search(self, text: str) -> Any:
        self.lengths.append(len(text))
        return self.pattern.search(text)

    match = search


@pytest.mark.parametrize(
    "text", ["\n" * LONG, " " * LONG + "\n", "SELECT " * (LONG // 7) + "\n", "To: a\n" * (LONG // 6)]
)
def test_a_long_argument_is_cut_before_a_pattern_guesses_its_kind(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    watched = [Watched(argument_display.CODE_LOOKS), Watched(argument_display.MAIL_HEADERS)]
    monkeypatch.setattr(argument_display, "CODE_LOOKS", watched[0])
    monkeypatch.setattr(argument_display, "MAIL_HEADERS", watched[1])
    (shown,) = displayed({}, {"note": text})
    assert shown.text == text
    lengths = [length for each in watched for length in each.lengths]
    assert lengths
    assert max(lengths) <= argument_display.LOOKED_AT


def test_a_text_is_still_recognized_by_its_beginning() -> None:
    kinds = {each.name: each.kind for each in displayed({}, {"a": "\n  SELECT x FROM y\n", "b": "To: me\nhello\n"})}
    assert kinds == {"a": DisplayKind.CODE, "b": DisplayKind.EMAIL}


def test_a_long_error_of_a_provider_is_cut_before_a_pattern_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(chat_models.TOO_LONG)
    monkeypatch.setattr(chat_models, "TOO_LONG", watched)

    class Refusal(Exception):
        status_code = 400

    assert not chat_models._is_too_long(Refusal("maximum " * LONG))
    assert watched.lengths == [chat_models.LOOKED_AT]


def multiplied(levels: int) -> dict[str, Any]:
    """A schema of a kilobyte, whose references double at each level."""
    doubled = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/d0"}},
        "$defs": {**doubled, f"d{levels}": {"type": "string"}},
    }


def test_a_schema_whose_references_multiply_is_refused_at_upload() -> None:
    source = (
        "from langchain_core.tools import BaseTool\n"
        "class Probe(BaseTool):\n"
        "    name: str = 'probe'\n"
        "    description: str = 'Probes.'\n"
        f"    args_schema: dict = {multiplied(18)!r}\n"
        "    def _run(self, a): return a\n"
    )
    with pytest.raises(ToolRejected, match="too large with its references resolved"):
        sandbox.describe(source)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (multiplied(15), f"more than {MAX_NODES:,} parts"),
        (multiplied(40), "levels deep"),
        ({"type": "object", "properties": {str(i): {} for i in range(MAX_NODES)}}, f"more than {MAX_NODES:,} parts"),
        ({"type": "object", "description": "x" * LONG}, "characters"),
    ],
)
def test_a_schema_has_bounds(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(SchemaTooLarge, match=why):
        Resolver(schema).resolve()


def test_references_are_resolved_once_and_what_stands_in_itself_allows_anything() -> None:
    money = {"type": "number", "minimum": 0}
    node = {"type": "object", "properties": {"price": {"$ref": "#/$defs/Money"}, "kids": {"$ref": "#/$defs/Node"}}}
    schema = {"type": "object", "properties": {"root": {"$ref": "#/$defs/Node", "title": "Root"}}}
    resolver = Resolver({**schema, "$defs": {"Money": money, "Node": node}})
    assert resolver.resolve() == {
        "type": "object",
        "properties": {"root": {"type": "object", "properties": {"price": money, "kids": {}}, "title": "Root"}},
    }
    assert resolver.has_recursion


TREE = """
from langchain_core.tools import tool
from pydantic import BaseModel

class Node(BaseModel):
    name: str
    kids: list["Node"] = []

@tool
def plant(root: Node) -> str:
    "Plants a tree."
    return root.name
"""


def test_only_the_tools_own_model_judges_a_schema_that_stands_in_itself() -> None:
    made = sandbox.describe(TREE)
    assert not made.manifest["schema_settles"]
    assert "$ref" not in str(made.args_schema)

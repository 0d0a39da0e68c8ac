"""The rehearsal model: deterministic, offline, through the tools' own schemas."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from agents.llm.rehearsal import Rehearsal, smallest
from agents.loop.engine import UploadedTool


def tool(name: str, schema: dict[str, Any]) -> UploadedTool:
    return UploadedTool(name=name, description="A tool.", args_schema=schema)


TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def ask(*messages: Any) -> AIMessage:
    model = Rehearsal().bind_tools([tool("first", TEXT), tool("second", TEXT)])
    return model.invoke([SystemMessage("be good"), *messages])


def test_it_calls_each_tool_once_in_one_step_with_the_whole_message() -> None:
    calls = ask(HumanMessage("send it")).tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [
        ("first", {"text": "send it"}),
        ("second", {"text": "send it"}),
    ]
    assert len({call["id"] for call in calls}) == 2


def test_it_answers_with_what_the_tools_said() -> None:
    called = ask(HumanMessage("send it"))
    results = [ToolMessage("sent", name="first", tool_call_id="1"), ToolMessage("no", name="second", tool_call_id="2")]
    assert ask(HumanMessage("send it"), called, *results).text == "first: sent\nsecond: no"


def test_a_message_that_begins_with_answer_is_answered_without_tools() -> None:
    answer = ask(HumanMessage("Answer me"))
    assert not answer.tool_calls
    assert "Answer me" in answer.text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "hello"),
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"const": 7}, 7),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "exclusiveMinimum": 0}, 1),
        ({"type": "integer", "maximum": -5}, -5),
        ({"type": "boolean"}, False),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["hello", "hello"]),
        ({"type": "array"}, []),
        ({"type": "null"}, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"$ref": "#/$defs/Mail"}, {"to": "hello"}),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {}),
        ({"$ref": "#/$defs/Loop"}, None),
    ],
)
def test_every_other_argument_is_the_smallest_that_its_schema_allows(schema: dict[str, Any], value: Any) -> None:
    mail = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    root = {"$defs": {"Mail": mail, "Loop": {"$ref": "#/$defs/Loop"}}}
    assert smallest(schema, "hello", root) == value

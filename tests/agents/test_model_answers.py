"""What a model answers is kept in a form that its provider takes back."""

from typing import Any

import pytest
from langchain_anthropic.chat_models import _format_messages
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from agents.loop.engine import StepLimitReached
from agents.loop.model_answers import AskedCall, finish_reason, normalized, read_arguments, why_unreadable


def claudes(partial: str) -> AIMessage:
    """A message with its call, as LangChain completes it, beside the provider's own block of it."""
    block = {"type": "tool_use", "id": "one", "name": "note", "input": {}, "partial_json": partial}
    call = {"id": "one", "name": "note", "args": {"text": "ha"}}
    return AIMessage([{"type": "text", "text": "I note."}, block], tool_calls=[call])


def sent_back(message: AIMessage) -> Any:
    """The blocks of the message in the next request to Anthropic."""
    result = ToolMessage("done", tool_call_id=message.tool_calls[0]["id"])
    return _format_messages([HumanMessage("go"), message, result], model="claude")[1][1]["content"]


def test_a_call_that_is_cut_off_goes_back_without_its_half() -> None:
    partial = '{"text": "ha'
    message = normalized(claudes(partial), streamed=[AskedCall("one", "note", partial)], tools={"note"}, taken=set())
    assert "cut off" in (why_unreadable(message, "one") or "")
    assert sent_back(message)[1:] == [{"type": "tool_use", "name": "note", "input": {}, "id": "one"}]


def test_a_call_with_an_id_of_ours_goes_back_once() -> None:
    whole = '{"text": "ha"}'
    message = normalized(claudes(whole), streamed=[AskedCall("one", "note", whole)], tools={"note"}, taken={"one"})
    ours = message.tool_calls[0]["id"]
    assert ours != "one"
    assert sent_back(message)[1:] == [{"type": "tool_use", "name": "note", "input": {"text": "ha"}, "id": ours}]


def test_a_call_that_was_not_streamed_and_cannot_be_read_is_kept_too() -> None:
    invalid = {"id": "one", "name": "note", "args": "[1", "error": None, "type": "invalid_tool_call"}
    message = normalized(AIMessage("", invalid_tool_calls=[invalid]), streamed=[], tools={"note"}, taken=set())
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("note", {})]
    assert message.invalid_tool_calls == []
    assert why_unreadable(message, "one")


def test_a_name_that_is_replaced_is_never_that_of_another_tool() -> None:
    asked = [AskedCall("one", "no te", "{}"), AskedCall("two", "functions.note", "{}")]
    message = normalized(AIMessage(""), streamed=asked, tools={"note", "no_te"}, taken=set())
    first, second = (call["name"] for call in message.tool_calls)
    assert first.startswith("no_te_")
    assert second == "note"


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_are_none(text: str) -> None:
    assert read_arguments(text) == {}


def test_arguments_that_no_parser_takes_are_too_deep() -> None:
    with pytest.raises(StepLimitReached):
        read_arguments("[" * 100_000)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"stop_reason": "end_turn"}, ""),
        ({}, ""),
    ],
)
def test_each_providers_word_for_an_answer_that_is_not_whole(metadata: dict[str, str], reason: str) -> None:
    assert finish_reason(AIMessage("x", response_metadata=metadata)) == reason

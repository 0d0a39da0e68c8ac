"""What a model answers, in a form that can be kept and sent back, whatever its provider sends."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolCall

from agents.loop.engine import MAX_CALLS, StepLimitReached, TooDeep
from aip.core.json_input import MAX_DEPTH, is_deeper_than
from aip.core.jsonb import storable

MAX_CALL_ID = 255
MAX_TEXT_QUOTED = 500
# What every provider takes as the name of a tool; others end the run one request later.
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
PREFIX = "functions."
# Where a message keeps why its calls could not be read. The checkpoint has it, and no provider is sent it.
UNREADABLE = "unreadable_calls"
TOO_DEEP = f"The model asked for a tool with arguments nested more than {MAX_DEPTH} levels deep."
DID_NOT_RUN = (
    "This call did not run, and nobody was asked about it: its arguments must be one complete JSON object. "
    "Call the tool again with such arguments, if it is still needed. {why}"
)
CUT_OFF = "They are cut off: the JSON has no end."
KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}

CALL_BLOCKS = ("tool_use", "tool_call", "function_call", "input_json_delta")
CUT_REASONS = ("length", "max_tokens", "context_window")
FILTER_REASONS = ("content_filter", "safety", "recitation", "blocklist", "prohibited", "spii", "guardrail")


@dataclass
class AskedCall:
    """A call as the model asked for it. `arguments`: its text, or what the provider's library read of it."""

    id: str | None
    name: str
    arguments: Any


def normalized(
    message: AIMessage, *, streamed: Sequence[AskedCall], tools: Collection[str], taken: Collection[str]
) -> AIMessage:
    """A model's message whose calls have ids and names that can be sent back to any provider.

    `streamed` are its calls as they arrived, if the answer was streamed: LangChain completes JSON that breaks off, and
    a call with half of its arguments is not what the model wanted. A call whose arguments cannot be read has none, and
    the message says why (`why_unreadable`). `taken` are the ids of the conversation's earlier calls. The message's own
    id is ours too: the state keeps one message per id, and a provider may repeat its ids.

    Raises StepLimitReached if there are too many calls, or arguments nested too deep.
    """
    asked = streamed or [AskedCall(call["id"], call["name"] or "", call["args"]) for call in message.tool_calls] + [
        AskedCall(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls
    ]
    if len(asked) > MAX_CALLS:
        raise StepLimitReached(f"The model asked for {len(asked)} tools in one step; {MAX_CALLS} are carried at most.")
    calls: list[ToolCall] = []
    unreadable: dict[str, str] = {}
    for each in asked:
        call_id = _fresh_id(each.id, {*taken, *(call["id"] or "" for call in calls)})
        arguments = read_arguments(each.arguments)
        if isinstance(arguments, str):
            unreadable[call_id] = arguments
            arguments = {}
        if is_deeper_than(MAX_DEPTH, arguments):
            raise TooDeep(TOO_DEEP)
        name = _name(each.name, tools)
        calls.append(ToolCall(name=name, args=_narrow(storable(arguments)), id=call_id, type="tool_call"))
    content: Any = _narrow(storable(message.content))
    if isinstance(content, list) and (unreadable or [(c["id"], c["name"]) for c in calls] != _named(asked)):
        # The provider's own blocks would be sent back with the ids and names that are not theirs any more.
        content = [block for block in content if not _is_call(block)]
    metadata = {**message.response_metadata, **({UNREADABLE: unreadable} if unreadable else {})}
    return message.model_copy(
        update={
            "id": f"model-{uuid4()}",
            "tool_calls": calls,
            "invalid_tool_calls": [],
            "content": content,
            "response_metadata": metadata,
        }
    )


def why_unreadable(message: AIMessage, call_id: str) -> str | None:
    """The text for the model of a call whose arguments could not be read; None for one that could."""
    why = message.response_metadata.get(UNREADABLE, {}).get(call_id)
    return None if why is None else DID_NOT_RUN.format(why=why)


def read_arguments(text: Any) -> dict[str, Any] | str:
    """The arguments of a call, or a sentence that says why they cannot be read. Raises StepLimitReached."""
    if not isinstance(text, str):
        return text if isinstance(text, dict) else f"They are {KINDS.get(type(text), 'no object')}."
    try:
        value = json.loads(text if text.strip() else "{}", parse_constant=_refuse_constant)
        json.dumps(value, allow_nan=False)  # such as 1e999, which would be sent back as Infinity
    except json.JSONDecodeError as e:
        return f"{_what_is_wrong(e)}{_quoted(text)}"
    except ValueError:
        return f"They have a number that JSON cannot hold.{_quoted(text)}"
    except RecursionError:
        raise TooDeep(TOO_DEEP) from None
    if isinstance(value, dict):
        return value
    return f"They are {KINDS[type(value)]}.{_quoted(text)}"


def _what_is_wrong(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return "They are an object and something behind it, or more than one."
    if error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip()):
        return CUT_OFF
    return f"They are not JSON: {error.msg} at character {error.pos + 1}."


def _quoted(text: str) -> str:
    return f" They were: {text}" if len(text) <= MAX_TEXT_QUOTED else f" They ended with: {text[-MAX_TEXT_QUOTED:]}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _fresh_id(given: str | None, taken: Collection[str]) -> str:
    """The provider's id of a call, or our own where there is none or another call has it."""
    call_id = str(storable(str(given or "")))[:MAX_CALL_ID]
    return call_id if call_id.strip() and call_id not in taken else f"call_{uuid4().hex}"


def _name(given: str, tools: Collection[str]) -> str:
    """The name of a call; one that no provider takes is replaced, and is never that of another tool by accident."""
    if given in tools or NAME.fullmatch(given):
        return given
    meant = given.strip().removeprefix(PREFIX)
    if meant in tools:
        return meant
    name = NO_NAME.sub("_", given).strip("_")[:50] or "unnamed"
    return f"{name}_{uuid4().hex[:8]}" if name in tools else name


def _named(asked: Sequence[AskedCall]) -> list[tuple[str | None, str]]:
    return [(each.id, each.name) for each in asked]


def _is_call(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in CALL_BLOCKS


def _narrow(value: Any) -> Any:
    """Whole numbers of more than 64 bits as text: the checkpoints' encoding has none."""
    match value:
        case dict():
            return {key: _narrow(entry) for key, entry in value.items()}
        case list():
            return [_narrow(entry) for entry in value]
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case _:
            return value


def finish_reason(message: AIMessage) -> str:
    """Why an answer is not whole: `length` or `content_filter`; empty for one that is."""
    said = message.response_metadata
    reason = str(said.get("finish_reason") or said.get("stop_reason") or said.get("done_reason") or "").lower()
    if any(word in reason for word in CUT_REASONS):
        return "length"
    return "content_filter" if any(word in reason for word in FILTER_REASONS) else ""

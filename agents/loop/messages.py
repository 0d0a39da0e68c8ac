"""What the model is told of its calls, and what a request keeps of the conversation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from agents.loop.model_answers import finish_reason
from agents.runs import events
from aip.core.jsonb import storable
from hitl.call import edits
from hitl.models import ApprovalRequest, Status
from hitl.schema_process import NON_FIELD, Errors

UNKNOWN_OUTCOME = (
    "An earlier attempt began at {at} and its outcome is unknown: it may have had its effect, whole or in part. "
    "Approve to run it again."
)
NOT_REPEATED = (
    "An earlier attempt of this call began at {at} and its outcome is unknown. "
    "The tool was deleted since, so it is not repeated. Go on without it."
)
DID_NOT_RUN = "it did not run"
NOT_RUN_AGAIN = (
    "it did not run again, but an earlier attempt of it began at {at} and its outcome is unknown: "
    "it may have had its effect, whole or in part"
)
NOT_STARTED = "The server is too busy to run this call; it did not run."
REFUSED = (
    "The tool does not take these arguments, so the call did not run and nobody was asked about it. "
    "Correct them and call it again, if it is still needed. {errors}"
)
ENOUGH = (
    "Operators have rejected exactly this call {times} times in this run, so it did not run and nobody was asked "
    "again. Do not try it again; go on without it, or do something else."
)
UNCHECKED = "Whether the tool takes these arguments could not be checked: {why}"
DEFAULTS_CHANGED = (
    "The tool's own defaults are not those that were shown when it was approved at {at}, so it did not run: {changes}."
)
FAILED_UNDECIDED = "The run failed at {at}, before this call was decided, and was resumed."
FAILED_BEFORE_IT_BEGAN = (
    "This call was approved at {at}, but the run failed before it began, so it did not run. The run was resumed."
)
CHANGED = "This call is not the one that was approved at {at}, so it did not run: {changes}."

# How much a request keeps of what led to it: messages, and characters of each text.
CONTEXT_MESSAGES = 40
CONTEXT_CHARACTERS = 20_000


def context(messages: Sequence[AnyMessage], tool_description: str, background: dict[str, str]) -> dict[str, Any]:
    """What a request keeps for those who decide it: the conversation, what the tool does, what its agent was told."""
    texts = {**background, "tool_description": tool_description}
    conversation = [{"role": m.type, "content": _kept(m.text)} for m in messages[-CONTEXT_MESSAGES:]]
    if left_out := len(messages) - len(conversation):
        conversation.insert(
            0, {"role": "left out", "content": f"The {left_out:,} messages before these were not kept."}
        )
    return {name: _kept(text) for name, text in texts.items()} | {"conversation": conversation}


def _kept(text: str) -> str:
    whole = str(storable(text))
    if len(whole) <= CONTEXT_CHARACTERS:
        return whole
    return f"{whole[:CONTEXT_CHARACTERS]}\n\n[Cut here: {len(whole):,} characters, of which the first were kept.]"


def tools_called(message: AIMessage) -> events.Payload:
    """The event that says what a message asks for."""
    return events.tools_called(
        step_id=str(message.id), text=message.text, calls=message.tool_calls, finish_reason=finish_reason(message)
    )


def moment(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "an unknown time"


def refusal(approval: ApprovalRequest, outcome: str) -> str:
    """The text for the model of a call that may not run: why, or what an operator answered in its place."""
    tool, note = approval.tool_name, approval.decision.operator_input
    if approval.decision.answer is not None:
        return f"{approval.decision.answer}\n\nThe operator's words: {note}" if note else approval.decision.answer
    match approval.status:
        case Status.REJECTED:
            text = f"The operator rejected this call of {tool}; {outcome}. Do not try it again."
        case Status.TIMEOUT_SKIP:
            return (
                f"Nobody decided within {approval.timeout_seconds:g} seconds, so this call of {tool} was skipped; "
                f"{outcome}. Go on without it."
            )
        case _:
            text = f"The operator skipped this call of {tool}; {outcome}. Go on without it."
    return f"{text}\nThe operator's words: {note}" if note else text


def with_note(message: ToolMessage, approval: ApprovalRequest, *, ran: bool) -> ToolMessage:
    """The tool's result, and what the operator did to its call: changed its arguments, added words."""
    notes = []
    if changed := edits(approval):
        what = "before it ran" if ran else "and the tool did not run"
        notes.append(f"The operator changed the arguments of this call {what}: {changed}.")
    if note := approval.decision.operator_input:
        notes.append(f"The operator approved this call with the words: {note}")
    if not notes:
        return message
    if isinstance(message.content, str):
        return message.model_copy(update={"content": "\n\n".join([message.content, *notes])})
    return message.model_copy(update={"content": [*message.content, {"type": "text", "text": "\n\n".join(notes)}]})


def refused_arguments(errors: Errors) -> str:
    """The text for the model of a call whose arguments its tool refuses."""
    parts = [" ".join(texts) if name == NON_FIELD else f"{name}: {' '.join(texts)}" for name, texts in errors.items()]
    return REFUSED.format(errors=" ".join(parts))


def plain_text(message: ToolMessage) -> str:
    """The result of a call as people and the record have it; of a block that is no text its kind."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(map(_block, message.content))


def _block(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    return str(block["text"]) if block.get("type") == "text" and "text" in block else f"[{block.get('type')}]"


def tool_message(call: ToolCall, content: str | list[Any], *, failed: bool) -> ToolMessage:
    return ToolMessage(
        storable(content),
        name=call["name"],
        tool_call_id=str(call["id"]),
        status="error" if failed else "success",
    )

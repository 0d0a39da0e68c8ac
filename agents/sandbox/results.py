"""What a call gave, in a form that can leave the tool's process. Runs only there."""

import json
from typing import Any

LEFT_OUT = "\n\n[The tool also wanted to change the state of its agent ({what}); this server leaves that out.]"


def result_of(answer: Any, call_id: str) -> dict[str, Any]:
    """`content`, a text or a list of blocks, and whether it `failed`, of what LangChain gives for a call.

    Raises TypeError where a tool gave more results than one for this call, or none.
    """
    left_out: list[str] = []
    given = answer if isinstance(answer, list) else [answer]
    messages = [message for one in given for message in _messages(one, left_out)]
    own = [message for message in messages if message.tool_call_id == call_id] or messages
    if len(own) > 1 or not (own or left_out):
        raise TypeError(f"The tool gave {len(own)} results for one call.")
    content = _storable(own[0].content) if own else ""
    if left_out:
        note = LEFT_OUT.format(what=", ".join(dict.fromkeys(left_out)))
        content = content + note if isinstance(content, str) else [*content, {"type": "text", "text": note.strip()}]
        content = content.strip() if isinstance(content, str) else content
    return {"content": content, "failed": bool(own) and own[0].status == "error"}


def _messages(one: Any, left_out: list[str]) -> list[Any]:
    from langchain_core.messages import ToolMessage, convert_to_messages

    if isinstance(one, ToolMessage):
        return [one]
    update = getattr(one, "update", None)
    if update is None and not hasattr(one, "goto"):
        raise TypeError(f"The tool gave {type(one).__name__}, which is no result of a call.")
    left_out += [attribute for attribute in ("goto", "resume", "graph") if getattr(one, attribute, None)]
    pairs = dict(update) if isinstance(update, dict) else {"messages": update or []}
    left_out += [str(key) for key in pairs if key != "messages"]
    found = convert_to_messages(pairs.get("messages") or [])
    own = [message for message in found if isinstance(message, ToolMessage)]
    if len(own) < len(found):
        left_out.append("other messages")
    return own


def _storable(content: Any) -> str | list[Any]:
    """Text and content blocks as they are, other values as text: as ToolNode does it."""
    from langchain_core.tools.base import TOOL_MESSAGE_BLOCK_TYPES

    if isinstance(content, str):
        return content
    are_blocks = all(isinstance(each, dict) and each.get("type") in TOOL_MESSAGE_BLOCK_TYPES for each in content)
    try:
        text = json.dumps(content, ensure_ascii=False)
        return json.loads(text) if are_blocks else text
    except (TypeError, ValueError, RecursionError):
        return str(content)

"""The rehearsal model: deterministic, needs no key, and goes through the same loop as any other."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

# How deep a required argument may nest before a schema that refers to itself is cut off.
MAX_DEPTH = 20


class Rehearsal(BaseChatModel):
    """Calls each tool once, in one step, then answers with their results.

    A message that begins with "Answer" is answered without tools. Required string arguments are the whole
    message; everything else is the smallest value that its schema allows.
    """

    @property
    def _llm_type(self) -> str:
        return "rehearsal"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=-1)
        text = messages[asked].text if asked >= 0 else ""
        results = [m for m in messages[asked + 1 :] if isinstance(m, ToolMessage)]
        tools = [tool["function"] for tool in kwargs.get("tools", [])]
        if results:
            message = AIMessage("\n".join(f"{m.name}: {m.text}" for m in results))
        elif text.startswith("Answer") or not tools:
            message = AIMessage(f"You said: {text}" if text else "You said nothing.")
        else:
            message = AIMessage("", tool_calls=[_call(tool, text) for tool in tools])
        return ChatResult(generations=[ChatGeneration(message=message)])


def _call(tool: dict[str, Any], text: str) -> dict[str, Any]:
    schema = tool.get("parameters", {})
    arguments = smallest({"type": "object", **schema}, text, schema)
    return {"name": tool["name"], "args": arguments, "id": str(uuid.uuid4()), "type": "tool_call"}


def smallest(schema: dict[str, Any], text: str, root: dict[str, Any], depth: int = 0) -> Any:
    """The smallest value that `schema` (part of `root`) allows; `text` for a free string."""
    if depth > MAX_DEPTH:
        return None
    for key in ("$ref", "allOf", "anyOf", "oneOf"):
        if key in schema:
            part = _resolve(schema[key], root) if key == "$ref" else schema[key][0]
            return smallest(part, text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "string":
            return text
        case "integer" | "number" as number:
            return _smallest_number(schema, whole=number == "integer")
        case "boolean":
            return False
        case "array":
            items = schema.get("items", {})
            return [smallest(items, text, root, depth + 1) for _ in range(schema.get("minItems", 0))]
        case "object":
            properties = schema.get("properties", {})
            return {
                name: smallest(properties.get(name, {}), text, root, depth + 1) for name in schema.get("required", [])
            }
        case _:
            return None


def _smallest_number(schema: dict[str, Any], *, whole: bool) -> int | float:
    low = schema.get("minimum", 0)
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    if low > schema.get("maximum", low):
        low = schema["maximum"]
    return int(low) if whole else low


def _resolve(ref: str, root: dict[str, Any]) -> dict[str, Any]:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found.get(part, {})
    return dict(found)

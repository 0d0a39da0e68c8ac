"""Sub-agents as the loop sees them: tools whose work is another agent."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.types import Command

from agents.loop.engine import LOOPS, max_steps, steps_left
from agents.loop.messages import tool_message
from agents.loop.steps import Steps, namespace
from agents.runs import events
from agents.sandbox.client import ToolFailed
from aip.core.jsonb import storable

NO_ANSWER = "(The agent ended without a text.)"
TASK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"task": {"type": "string", "description": "What the agent shall do, with all that it has to know"}},
    "required": ["task"],
}


class SubAgentTool(BaseTool):
    """Another agent, which the model gives a task. It is a graph that runs within the call.

    It has no checkpointer: the one of the graph around it keeps its steps, under the call's namespace, so a call that
    is entered again goes on where it was.
    """

    args_schema: dict[str, Any] = TASK_SCHEMA
    # The text is for the model; the artifact, which stays with the message, is what it cost.
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    build: Callable[[], Any]
    explain: Callable[[Exception], str | None]

    def _run(self, config: RunnableConfig, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Raises ToolFailed with a text for the model."""
        task = arguments.get("task")
        if not isinstance(task, str) or not task.strip():
            raise ToolFailed("Give the agent a task: a text that is not empty.")
        start = {"messages": [{"role": "user", "content": task}]}
        try:
            agent = self.build()
            limit = steps_left(agent.get_state(config).metadata)
            conversation = agent.invoke(start, {**config, "recursion_limit": limit})["messages"]
        except GraphBubbleUp:
            raise
        except GraphRecursionError:
            raise ToolFailed(LOOPS.format(steps=max_steps())) from None
        except Exception as e:
            if reason := self.explain(e):
                raise ToolFailed(reason) from e
            raise
        return conversation[-1].text or NO_ANSWER, {"usage": usage(conversation)}


def delegate(
    steps: Steps, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
) -> ToolMessage:
    """Run a sub-agent's task, and report its start and end. Raises what ends or parks the run.

    The sub-agent's calls pass its own gate, so for the attempt nothing runs or waits here. The run may park between
    start and end, so no duration is reported; the times of the events show it.
    """
    call, step = request.tool_call, namespace(request)
    fields: dict[str, Any] = {
        "step_id": step,
        "call_id": str(call["id"]),
        "name": call["name"],
        "arguments": call["args"],
    }
    begun = steps.placed(events.delegated(**fields))
    steps.write(f"delegated:{step}", begun)
    try:
        message = handler(request)
    except ToolFailed as e:
        message = tool_message(call, str(e), failed=True)
    if not isinstance(message, ToolMessage):
        raise TypeError(f"A sub-agent gave {type(message).__name__}.")
    message = message.model_copy(update={"content": storable(message.text)})
    failed = message.status == "error"
    ended = events.tool_result(**fields, output=message.text, failed=failed, seconds=None, request=None)
    steps.write(f"result:{step}", steps.placed(ended))
    return message


def usage(conversation: Sequence[AnyMessage]) -> dict[str, int]:
    """The tokens that an agent and its sub-agents used, as the models counted them, over all attempts."""
    total: dict[str, int] = {}
    for message in conversation:
        for key, number in _used(message).items():
            total[key] = total.get(key, 0) + number
    return total


def _used(message: AnyMessage) -> dict[str, int]:
    if isinstance(message, ToolMessage):
        counted_below: dict[str, int] = (message.artifact or {}).get("usage", {})
        return counted_below
    if not isinstance(message, AIMessage) or not message.usage_metadata:
        return {}
    counted = message.usage_metadata
    read, wrote = counted.get("input_token_details") or {}, counted.get("output_token_details") or {}
    details = {
        "cache_read_tokens": read.get("cache_read"),
        "reasoning_tokens": wrote.get("reasoning"),
        "audio_tokens": (read.get("audio") or 0) + (wrote.get("audio") or 0),
    }
    totals = {key: counted[key] for key in ("input_tokens", "output_tokens", "total_tokens")}
    return totals | {key: number for key, number in details.items() if number}

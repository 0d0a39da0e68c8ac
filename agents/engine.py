"""The agent loop, which is LangChain's: a model, tools that are run elsewhere, and the gate between them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphRecursionError

# Model and tool steps of one run before it is taken for a loop.
MAX_STEPS = 100
# Calls of one step that are under way at once. LangGraph's default follows the processors; these wait for people.
MAX_CALLS = 64


class StepLimitReached(Exception):
    """The agent went on calling tools without coming to an answer."""


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool as a run's spec froze it. `hitl` is None for a tool that runs without asking."""

    id: UUID
    version_id: UUID
    digest: str
    name: str
    class_name: str
    description: str
    args_schema: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    hitl_timeout_seconds: float | None = None
    timeout_seconds: float

    @property
    def gated(self) -> bool:
        return self.hitl_timeout_seconds is not None


class UploadedTool(BaseTool):
    """An uploaded tool as the loop sees it: its schema is for the model, its code runs in the sandbox."""

    args_schema: dict[str, Any]
    run_elsewhere: Callable[[dict[str, Any]], str]

    def _run(self, /, **arguments: Any) -> str:
        return self.run_elsewhere(arguments)


def build_tool(spec: ToolSpec, run_elsewhere: Callable[[ToolSpec, dict[str, Any]], str]) -> UploadedTool:
    return UploadedTool(
        name=spec.name,
        description=spec.description,
        args_schema=spec.args_schema,
        run_elsewhere=lambda arguments: run_elsewhere(spec, arguments),
    )


def steps(
    *,
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    instruction: str,
    messages: Sequence[dict[str, str]],
    middleware: AgentMiddleware[Any, Any],
    checkpointer: BaseCheckpointSaver[Any],
    thread_id: str,
) -> Iterator[AIMessage]:
    """Drive the agent to its end and give each answer of the model as it comes; the last has no tool calls.

    Goes on from the thread's checkpoint when there is one; messages already answered are reported again.
    Raises StepLimitReached, and whatever the model raises.
    """
    agent = create_agent(
        model, tools, system_prompt=instruction or None, middleware=[middleware], checkpointer=checkpointer
    )
    config: Any = {"configurable": {"thread_id": thread_id}, "recursion_limit": MAX_STEPS, "max_concurrency": MAX_CALLS}
    begun = checkpointer.get_tuple(config) is not None
    start: Any = None if begun else {"messages": list(messages)}
    try:
        for update in agent.stream(start, config, stream_mode="updates", durability="sync"):
            yield from _answers(update)
    except GraphRecursionError:
        raise StepLimitReached(f"The agent took more than {MAX_STEPS} steps without coming to an answer.") from None


def _answers(update: Any) -> Iterator[AIMessage]:
    found: list[AnyMessage] = (update.get("model") or {}).get("messages", [])
    yield from (message for message in found if isinstance(message, AIMessage))

"""The agent loop, which is LangChain's: a model, tools that are run elsewhere, and the gate between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphRecursionError

from agents.catalog.toolspec import ToolSpec

# Model and tool steps of one run before it is taken for a loop.
MAX_STEPS = 100
LOOPS = "The agent took more than {steps} steps without coming to an answer."
# Calls of one step, all under way at once: one that had to queue behind others that wait for people might be decided
# long before them, to no effect. LangGraph's default follows the processors.
MAX_CALLS = 256


class StepLimitReached(Exception):
    """The agent went on calling tools without coming to an answer, or called too many at once."""


class TooDeep(StepLimitReached):
    """The model asked for what cannot be carried. Ends the run as the limit does, and the model is to blame."""


class UploadedTool(BaseTool):
    """An uploaded tool as the model sees it. The gate carries its calls out, in the sandbox."""

    args_schema: dict[str, Any]

    def _run(self, /, **arguments: Any) -> str:
        raise AssertionError("The gate carries out the calls of uploaded tools.")


def build_tool(spec: ToolSpec) -> UploadedTool:
    return UploadedTool(name=spec.name, description=spec.description, args_schema=spec.args_schema)


@dataclass(frozen=True)
class AgentParts:
    """What an agent is made of."""

    model: BaseChatModel
    tools: Sequence[BaseTool]
    instruction: str
    middleware: AgentMiddleware[Any, Any]


def build_agent(parts: AgentParts, checkpointer: BaseCheckpointSaver[Any] | None = None) -> Any:
    """The agent's graph. A sub-agent has no checkpointer of its own."""
    return create_agent(
        parts.model,
        parts.tools,
        system_prompt=parts.instruction or None,
        middleware=[parts.middleware],
        checkpointer=checkpointer,
    )


def steps_left(begun: Mapping[str, Any] | None, *, resumptions: int = 0) -> int:
    """The limit to give to LangGraph, which counts only its own steps since it was called.

    `begun` is the metadata of the last checkpoint, if there is one. A run that is resumed after it failed may take as
    many steps again. Raises StepLimitReached.
    """
    left: int = max_steps(resumptions) - (begun or {}).get("step", 0)
    if left < 1:
        raise StepLimitReached(LOOPS.format(steps=max_steps(resumptions)))
    return left


def max_steps(resumptions: int = 0) -> int:
    return MAX_STEPS * (1 + resumptions)


def run_agent(
    parts: AgentParts,
    *,
    messages: Sequence[dict[str, str]],
    checkpointer: BaseCheckpointSaver[Any],
    thread_id: str,
    resume: bool,
    resumptions: int = 0,
    report: Callable[[AIMessage], None],
) -> list[AnyMessage] | None:
    """Run the agent until it has answered, and return the whole conversation; None if it parked on the way.

    With `resume` it continues from the thread's checkpoint, if there is one; `resumptions`: see `steps_left`. `report`
    is called with each message of the model before its calls begin; after a resume, with the last earlier one again.
    Raises StepLimitReached, and whatever the model raises.
    """
    agent = build_agent(parts, checkpointer)
    config: Any = {"configurable": {"thread_id": thread_id}, "max_concurrency": MAX_CALLS}
    begun = checkpointer.get_tuple(config) if resume else None
    config["recursion_limit"] = steps_left(begun.metadata if begun else None, resumptions=resumptions)
    start: Any = None if begun else {"messages": list(messages)}
    conversation: list[AnyMessage] = []
    reported = None
    parked = False
    try:
        steps: Iterator[Any] = agent.stream(start, config, stream_mode=["values", "updates"], durability="sync")
        for mode, update in steps:
            if mode == "updates":
                parked = parked or "__interrupt__" in update
                continue
            conversation = update["messages"]
            # Empty where an attempt ended before its first step.
            last = conversation[-1] if conversation else None
            if isinstance(last, AIMessage) and last.id != reported:
                reported = last.id
                report(last)
    except GraphRecursionError:
        raise StepLimitReached(LOOPS.format(steps=max_steps(resumptions))) from None
    return None if parked else conversation

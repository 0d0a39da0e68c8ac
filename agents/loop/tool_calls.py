"""How a call is carried out, and what is said of one that did not run, or of which nobody knows."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import ToolCall, ToolMessage
from langgraph.types import Command

from agents.catalog.toolspec import ToolSpec
from agents.loop.messages import tool_message
from agents.runs.attempts import Attempt, Lost
from agents.sandbox import client as sandbox
from agents.sandbox.client import SandboxUnavailable, ToolFailed
from aip.core.db import patient
from aip.core.jsonb import storable
from hitl import executions
from hitl.models import ApprovalRequest

logger = logging.getLogger(__name__)
Handler = Callable[[ToolCallRequest], ToolMessage | Command[Any]]

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
MAX_STARTS = 11
NOT_STARTED = "The server is too busy to run this call; it did not run."
CHANGED = "This call is not the one that was approved at {at}, so it did not run: {changes}."


def carried_out(
    attempt: Attempt, call: ToolCall, spec: ToolSpec, source: str, start_before: float | None = None
) -> tuple[ToolMessage, float]:
    """Run a tool; its message to the model and how long it took, in seconds. A failure is a message too.

    Raises TooLate, Lost.
    """
    began, stop = time.monotonic(), sandbox.Stop()
    try:
        with attempt.stoppable(stop):
            text = sandbox.call(
                source,
                class_name=spec.class_name,
                fields=spec.fields,
                arguments=call["args"],
                timeout=spec.timeout_seconds,
                start_before=start_before,
                stop=stop,
            )
        message = tool_message(call, text, failed=False)
    except (Lost, sandbox.TooLate):
        raise
    except (ToolFailed, SandboxUnavailable) as e:
        message = tool_message(call, str(e), failed=True)
    except Exception as e:
        # A call that was started must come to an end, whatever goes wrong around it.
        logger.exception("A tool could not be run")
        message = tool_message(call, f"The tool could not be run ({type(e).__name__}).", failed=True)
    return message, time.monotonic() - began


def no_such_tool(request: ToolCallRequest, handler: Handler) -> ToolMessage:
    """What LangChain says to a model that calls a tool which the agent has not got."""
    message = handler(request)
    if not isinstance(message, ToolMessage):
        raise TypeError(f"An unknown tool gave {type(message).__name__}.")
    return message.model_copy(update={"content": storable(message.text)})


def when(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "an unknown time"


@patient
def fate(approval: ApprovalRequest) -> str:
    """What became of a call that may not run, as a part of a sentence."""
    began = executions.unknown_since(approval.run_id, approval.checkpoint_ns) if approval.round > 1 else None
    return NOT_RUN_AGAIN.format(at=when(began)) if began else DID_NOT_RUN

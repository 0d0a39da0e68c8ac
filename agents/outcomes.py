"""How a call is carried out, and what is said of one that did not run, or of which nobody knows."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from agents import sandbox
from agents.messages import tool_message
from agents.sandbox import SandboxUnavailable, ToolFailed
from hitl.seal import storable

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
MORE_STARTS = 10
NOT_STARTED = "The server is too busy to run this call; it did not run."
CHANGED = "This call is not the one that was approved at {at}, so it did not run: {changes}."


def carried_out(request: ToolCallRequest, handler: Handler) -> tuple[ToolMessage, float]:
    """Run the tool; its message to the model and how long it took, in seconds. A failure is a message too."""
    began = time.monotonic()
    try:
        result = handler(request)
    except (GraphBubbleUp, sandbox.TooLate):
        raise
    except (ToolFailed, SandboxUnavailable) as e:
        result = tool_message(request.tool_call, str(e), failed=True)
    except Exception as e:
        # A call that was started must come to an end, whatever goes wrong around it.
        logger.exception("A tool could not be run")
        result = tool_message(request.tool_call, f"The tool could not be run ({type(e).__name__}).", failed=True)
    if not isinstance(result, ToolMessage):
        raise TypeError(f"A tool gave {type(result).__name__}; uploaded tools give text.")
    return result.model_copy(update={"content": storable(result.text)}), time.monotonic() - began


def when(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "an unknown time"

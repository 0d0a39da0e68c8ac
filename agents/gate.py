"""The gate: every tool call of a run passes here, and a gated one only under a recorded decision.

It can be entered again for the same call, by another worker after a crash, and does no harm then: the
request is found by the call's `checkpoint_ns`, the decision stands in its row, and the right to run the
tool is handed out once.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from agents import events
from agents.engine import ToolSpec
from agents.sandbox import SandboxUnavailable, ToolFailed
from aip.db import patiently
from hitl import approvals, waiting
from hitl.models import ApprovalRequest, Execution, Status
from hitl.seal import storable

logger = logging.getLogger(__name__)
Handler = Callable[[ToolCallRequest], ToolMessage | Command[Any]]

# How much of the conversation a request keeps of what led to it: messages, and characters of each.
CONTEXT_MESSAGES = 40
CONTEXT_CHARACTERS = 20_000
MAX_CALL_ID = 255

UNKNOWN_OUTCOME = (
    "An earlier attempt at this call of {tool} began at {at} and its outcome is unknown. It was not run again."
)
BROKEN_SEAL = "This call of {tool} differs from the one that was approved, so it did not run."


class Gate(AgentMiddleware[Any, Any]):
    """The middleware of one run."""

    def __init__(self, *, run_id: UUID, agent_id: UUID, agent_name: str, tools: dict[str, ToolSpec]) -> None:
        super().__init__()
        self.run_id = run_id
        self.agent_id = agent_id
        self.agent_name = agent_name
        self.specs = tools

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        response = handler(request)
        response.result = [readable(m) if isinstance(m, AIMessage) else m for m in response.result]
        return response

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> ToolMessage | Command[Any]:
        # What is shown, sealed and run is one and the same: arguments that the database can hold.
        arguments = storable(request.tool_call["args"])
        request = request.override(tool_call={**request.tool_call, "args": arguments})
        spec = self.specs.get(request.tool_call["name"])
        if spec is None or not spec.gated:
            return self._run_free(request, handler)
        return self._run_gated(request, handler, spec)

    def _run_free(self, request: ToolCallRequest, handler: Handler) -> ToolMessage:
        message, seconds = _run(request, handler)
        patiently(lambda: self._report(request, message, seconds, approval=None))
        return message

    def _run_gated(self, request: ToolCallRequest, handler: Handler, spec: ToolSpec) -> ToolMessage:
        """Ask, wait, and do what was decided.

        1. Open the request, or find it again. 2. Announce it, once it is committed. 3. Wait for its end.
        4. Not approved: tell the model in words. 5. Check the seal. 6. Claim the execution. 7. Run.
        """
        call = self._call(request, spec)
        opened = patiently(lambda: self._open(call, spec.hitl_timeout_seconds or 0, _context(request)))
        approval = wait_until_closed(opened.pk)
        if approval.status != Status.APPROVED:
            return self._refuse(request, approval)
        if call.seal != approval.decision.seal:
            return self._tell(request, approval, BROKEN_SEAL.format(tool=spec.name))
        if not patiently(lambda: approvals.claim_execution(approval.pk)):
            return self._already_begun(request, approval)
        message, seconds = _run(request, handler)
        patiently(lambda: self._end(request, message, seconds, approval))
        return _with_note(message, approval)

    def _open(self, call: approvals.Call, timeout_seconds: float, context: dict[str, Any]) -> ApprovalRequest:
        approval = approvals.open_request(call, timeout_seconds=timeout_seconds, context=context)
        events.record(self.run_id, f"pending:{approval.pk}", events.pending(approval))
        return approval

    def _end(self, request: ToolCallRequest, message: ToolMessage, seconds: float, approval: ApprovalRequest) -> None:
        execution = Execution.FAILED if message.status == "error" else Execution.FINISHED
        with transaction.atomic():
            approvals.end_execution(approval.pk, execution=execution, output=message.text)
            self._report(request, message, seconds, approval)

    def _call(self, request: ToolCallRequest, spec: ToolSpec) -> approvals.Call:
        return approvals.Call(
            tool_id=spec.id,
            tool_version=spec.digest,
            tool_name=spec.name,
            arguments=request.tool_call["args"],
            agent_id=self.agent_id,
            run_id=self.run_id,
            checkpoint_ns=_namespace(request),
            agent_name=self.agent_name,
            tool_call_id=str(request.tool_call["id"]),
        )

    def _already_begun(self, request: ToolCallRequest, approval: ApprovalRequest) -> ToolMessage:
        """Entered again after the tool was started: give its stored result, or say that there is none."""
        patiently(approval.refresh_from_db)
        if approval.output is None:
            at = approval.execution_started_at
            text = UNKNOWN_OUTCOME.format(tool=approval.tool_name, at=at.isoformat() if at else "an unknown time")
            return self._tell(request, approval, text)
        message = _message(request, approval.output, failed=approval.execution == Execution.FAILED)
        patiently(lambda: self._report(request, message, None, approval))
        return _with_note(message, approval)

    def _refuse(self, request: ToolCallRequest, approval: ApprovalRequest) -> ToolMessage:
        return self._tell(request, approval, refusal(approval), failed=approval.status == Status.REJECTED)

    def _tell(
        self, request: ToolCallRequest, approval: ApprovalRequest, text: str, *, failed: bool = True
    ) -> ToolMessage:
        message = _message(request, text, failed=failed)
        patiently(lambda: self._report(request, message, None, approval))
        return message

    def _report(
        self,
        request: ToolCallRequest,
        message: ToolMessage,
        seconds: float | None,
        approval: ApprovalRequest | None,
    ) -> None:
        call = request.tool_call
        payload = events.tool_result(
            step_id=_namespace(request),
            call_id=str(call["id"]),
            name=call["name"],
            arguments=call["args"],
            output=message.text,
            failed=message.status == "error",
            seconds=seconds,
            request=approval,
        )
        events.record(self.run_id, f"result:{_namespace(request)}", payload)


def readable(message: AIMessage) -> AIMessage:
    """What a model said, in a form that checkpoint and database can hold, whatever its provider sends.

    Its id is our own: the state keeps one message per id, and a provider may repeat its ids.
    """
    calls = [
        {**call, "args": _narrow(storable(call["args"])), "id": storable(str(call["id"] or uuid4()))[:MAX_CALL_ID]}
        for call in message.tool_calls
    ]
    content = storable(message.content) if isinstance(message.content, str) else message.content
    return message.model_copy(update={"id": f"model-{uuid4()}", "tool_calls": calls, "content": content})


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


def wait_until_closed(request_id: UUID) -> ApprovalRequest:
    """Block on the request's Redis key until it is decided, or until its deadline, which this then enforces.

    Bounded by the request's own deadline. Holds no database connection while it blocks.
    """
    while True:
        request, seconds_left = patiently(lambda: _look(request_id))
        if request.status != Status.PENDING:
            return request
        if seconds_left > 0:
            waiting.wait(request_id, seconds_left)


def _look(request_id: UUID) -> tuple[ApprovalRequest, float]:
    request, seconds_left = approvals.look(request_id)
    if request.status == Status.PENDING and seconds_left <= 0:
        approvals.time_out(request_id)
    return request, seconds_left


def refusal(approval: ApprovalRequest) -> str:
    """Why a call did not run, in words that a model can use."""
    tool, note = approval.tool_name, approval.decision.operator_input
    match approval.status:
        case Status.REJECTED:
            text = f"The operator rejected this call of {tool}; it did not run. Do not try it again."
        case Status.TIMEOUT_SKIP:
            return (
                f"Nobody decided within {approval.timeout_seconds:g} seconds, so this call of {tool} was skipped; "
                "it did not run. Go on without it."
            )
        case _:
            text = f"The operator skipped this call of {tool}; it did not run. Go on without it."
    return f"{text}\nThe operator's words: {note}" if note else text


def _with_note(message: ToolMessage, approval: ApprovalRequest) -> ToolMessage:
    note = approval.decision.operator_input
    if not note:
        return message
    return message.model_copy(
        update={"content": f"{message.text}\n\nThe operator approved this call with the words: {note}"}
    )


def _run(request: ToolCallRequest, handler: Handler) -> tuple[ToolMessage, float]:
    """Run the tool; its message to the model and how long it took, in seconds. A failure is a message too."""
    began = time.monotonic()
    try:
        result = handler(request)
    except (ToolFailed, SandboxUnavailable) as e:
        result = _message(request, str(e), failed=True)
    except Exception as e:
        # A call that was started must come to an end, whatever goes wrong around it.
        logger.exception("A tool could not be run")
        result = _message(request, f"The tool could not be run ({type(e).__name__}).", failed=True)
    if not isinstance(result, ToolMessage):
        raise TypeError(f"A tool gave {type(result).__name__}; uploaded tools give text.")
    return result.model_copy(update={"content": storable(result.text)}), time.monotonic() - began


def _message(request: ToolCallRequest, text: str, *, failed: bool) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        storable(text),
        name=call["name"],
        tool_call_id=str(call["id"]),
        status="error" if failed else "success",
    )


def _namespace(request: ToolCallRequest) -> str:
    return str(request.runtime.config["configurable"]["checkpoint_ns"])


def _context(request: ToolCallRequest) -> dict[str, Any]:
    messages: list[AnyMessage] = request.state["messages"][-CONTEXT_MESSAGES:]
    return {"conversation": [{"role": m.type, "content": storable(m.text)[:CONTEXT_CHARACTERS]} for m in messages]}

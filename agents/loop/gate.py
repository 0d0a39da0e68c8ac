"""The gate: every tool call of a run passes here, and a gated one only under a recorded decision.

It is entered again for the same call by whoever takes the run over, and does no harm: the request is found by the
call's `checkpoint_ns`, the decision stands in its row, and the right to run the tool is handed out once.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any
from uuid import UUID

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command, interrupt

from agents.catalog import tools as tool_catalog
from agents.catalog.tools import ToolGone
from agents.catalog.toolspec import ToolSpec
from agents.loop.messages import check_calls, context, readable, refusal, tool_message, with_note
from agents.loop.steps import Steps, namespace
from agents.loop.subagent_tool import SubAgentTool, delegate
from agents.loop.tool_calls import (
    CHANGED,
    MAX_STARTS,
    NOT_REPEATED,
    NOT_STARTED,
    UNKNOWN_OUTCOME,
    Handler,
    carried_out,
    fate,
    no_such_tool,
    when,
)
from agents.models import Run
from agents.runs import events
from agents.runs.attempts import Attempt
from agents.sandbox import client as sandbox
from aip.core.db import patient
from aip.core.jsonb import storable
from hitl import approvals, cancellations, doorbell, executions
from hitl.approvals import TimedRequest
from hitl.call import Call, changes
from hitl.models import ApprovalRequest, Execution, Status

logger = logging.getLogger(__name__)


class Gate(AgentMiddleware[Any, Any]):
    """The middleware of one attempt at a run."""

    def __init__(
        self,
        attempt: Attempt,
        *,
        agent_id: UUID,
        agent_name: str,
        tools: list[ToolSpec],
        background: dict[str, str] | None = None,
        is_sub_agent: bool = False,
    ) -> None:
        """`background` is what the requests keep of run and agent for those who decide; `requester` started the run."""
        super().__init__()
        self.background = background or {}
        self.attempt = attempt
        self.agent_id = agent_id
        self.agent_name = agent_name
        self.specs = {spec.name: spec for spec in tools}
        self.steps = Steps(attempt, agent_name, is_sub_agent=is_sub_agent)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        # Calls of the leader may wait meanwhile, and have their effect sooner if they go on listening.
        with self.attempt.busy(gated=False) if self.steps.is_sub_agent else nullcontext():
            response = handler(request)
        check_calls([call for m in response.result if isinstance(m, AIMessage) for call in m.tool_calls])
        response.result = [readable(m) if isinstance(m, AIMessage) else m for m in response.result]
        return response

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> ToolMessage | Command[Any]:
        # What is shown, sealed and run is one and the same: arguments that the database can hold.
        arguments = storable(request.tool_call["args"])
        request = request.override(tool_call={**request.tool_call, "args": arguments})
        self.steps.enter(request)
        if isinstance(request.tool, SubAgentTool):
            return delegate(self.steps, request, handler)
        spec = self.specs.get(request.tool_call["name"])
        try:
            if spec is None or not spec.gated:
                return self._run_free(request, handler, spec)
            return self._run_gated(request, spec)
        except ToolGone as e:
            return self._withdraw(request, str(e))

    def _run_free(self, request: ToolCallRequest, handler: Handler, spec: ToolSpec | None) -> ToolMessage:
        with self.attempt.busy(gated=False):
            if spec is None:
                message, seconds = no_such_tool(request, handler), 0.0
            else:
                source, _ = patient(tool_catalog.code)(spec.id, spec.version_id)
                message, seconds = carried_out(self.attempt, request.tool_call, spec, source)
            self._report(request, message, seconds, None)
            return message

    def _run_gated(self, request: ToolCallRequest, spec: ToolSpec) -> ToolMessage:
        """Ask, wait, and do what was decided; ask again where the approval does not cover what would run."""
        approval = self._open(request, spec)
        while True:
            if approval.status == Status.PENDING:
                approval = self._await_decision(approval)
            if approval.status == Status.CANCELLED:
                raise ToolGone  # or the run has ended, as the next write will find
            if approval.status != Status.APPROVED:
                return self._tell(request, approval)
            if approval.output is not None:  # it ran before, and this is entered again
                has_failed = approval.execution == Execution.FAILED
                return with_note(tool_message(request.tool_call, approval.output, failed=has_failed), approval)
            with self.attempt.busy(gated=True) as may_begin:
                if not may_begin:
                    interrupt("parked")
                outcome = self._run_approved(request, spec, approval)
            if isinstance(outcome, ToolMessage):
                return with_note(outcome, approval)
            approval = outcome

    def _run_approved(
        self, request: ToolCallRequest, spec: ToolSpec, approval: ApprovalRequest
    ) -> ToolMessage | TimedRequest:
        """What the tool said, or the next round where what would run is not what was approved, or may have run."""
        if (edited := approval.operators_arguments) is not None:
            request = request.override(tool_call={**request.tool_call, "args": edited})
        source, call, start_before = self._judge(request, spec, approval, again=spec.idempotent)
        unknown = UNKNOWN_OUTCOME.format(at=when(approval.execution_started_at))
        if call.seal != approval.decision.seal:
            changed = CHANGED.format(at=when(approval.closed_at), changes=changes(approval, call))
            has_begun = approval.execution == Execution.STARTED
            return self._ask_again(spec, approval, call, f"{unknown} {changed}" if has_begun else changed)
        ran = None if start_before is None else self._start(request, spec, source, start_before, approval)
        if ran is None:
            return self._ask_again(spec, approval, call, unknown)
        message, seconds = ran
        self._end(request, message, seconds, approval)
        return message

    @patient
    def _judge(
        self, request: ToolCallRequest, spec: ToolSpec, approval: ApprovalRequest, *, again: bool
    ) -> tuple[str, Call, float | None]:
        """The code and the call as they are now and, where the decision covers them, the right to start.

        That is until when, by time.monotonic(), the call may start; None when it was started before. Raises ToolGone.
        """
        with self.attempt.starting() as start_before:
            source, digest = tool_catalog.code(spec.id, spec.version_id, locked=True)
            call = self._call(request, spec, digest)
            may_start = call.seal == approval.decision.seal and _claim(approval, again=again)
        return source, call, start_before if may_start else None

    def _start(
        self, request: ToolCallRequest, spec: ToolSpec, source: str, start_before: float, approval: ApprovalRequest
    ) -> tuple[ToolMessage, float] | None:
        """What the tool said, and how long it took; None when it was started by another one, and may have run."""
        for _ in range(MAX_STARTS):
            with suppress(sandbox.TooLate):
                return carried_out(self.attempt, request.tool_call, spec, source, start_before)
            # It was handed over too late, so it has certainly not begun, and is handed over again.
            source, _, claimed = self._judge(request, spec, approval, again=True)
            if claimed is None:
                return None
            start_before = claimed
        return tool_message(request.tool_call, NOT_STARTED, failed=True), 0.0

    def _await_decision(self, approval: TimedRequest) -> TimedRequest:
        """Hold on the request's Redis key until it is closed; park when it is time to.

        Enforces the request's deadline. Holds no database connection while it blocks. Raises Lost, GraphInterrupt.
        """
        with self.attempt.waiting():
            while approval.status == Status.PENDING:
                if self.attempt.lost:
                    raise self.attempt.abandon()
                if self.attempt.must_park():
                    interrupt("parked")
                if (left := approvals.seconds_left(approval)) > 0:
                    doorbell.wait(approval.pk, min(left, self.attempt.hold_left()))
                approval = _look(approval.pk)
        return approval

    @patient
    def _open(self, request: ToolCallRequest, spec: ToolSpec) -> TimedRequest:
        """The request about a call; opened if it is not there yet. Raises ToolGone, Lost."""
        led_to_it = context(request.state["messages"], spec.description, self.background)
        timeout = spec.hitl_timeout_seconds or 0
        with self.attempt.writing() as run:
            _, digest = tool_catalog.code(spec.id, spec.version_id, locked=True)
            call = self._call(request, spec, digest)
            approval = approvals.open_request(call, timeout_seconds=timeout, context=led_to_it)
            if approval.status == Status.PENDING:
                events.append(run, f"pending:{approval.pk}", self.steps.placed(events.pending(approval)))
        return approval

    def _ask_again(self, spec: ToolSpec, approval: ApprovalRequest, call: Call, reason: str) -> TimedRequest:
        """The next round. Raises ToolGone."""

        @patient
        def ask() -> TimedRequest:
            with self.attempt.writing() as run:
                tool_catalog.code(spec.id, spec.version_id, locked=True)
                events.append(run, f"again:{approval.pk}", self.steps.placed(events.asked_again(approval, reason)))
                asked = approvals.ask_again(approval, call, reason)
                events.append(run, f"pending:{asked.pk}", self.steps.placed(events.pending(asked)))
            return asked

        logger.warning("The call of %s, request %s, is asked about again: %s", call.tool_name, approval.pk, reason)
        asked = ask()
        self.attempt.settled()
        return asked

    @patient
    def _end(self, request: ToolCallRequest, message: ToolMessage, seconds: float, approval: ApprovalRequest) -> None:
        execution = Execution.FAILED if message.status == "error" else Execution.FINISHED
        with self.attempt.writing() as run:
            executions.end_execution(approval.pk, execution=execution, output=message.text)
            self._append_result(run, request, message, seconds, approval)
        self.attempt.settled()

    def _call(self, request: ToolCallRequest, spec: ToolSpec, digest: str) -> Call:
        return Call(
            tool_id=spec.id,
            tool_version=digest,
            tool_name=spec.name,
            arguments=request.tool_call["args"],
            agent_id=self.agent_id,
            run_id=self.attempt.run_id,
            checkpoint_ns=namespace(request),
            agent_name=self.agent_name,
            tool_call_id=str(request.tool_call["id"]),
            args_schema=spec.args_schema,
            destructive=spec.destructive,
            requester=self.background.get("requester", ""),
        )

    def _tell(self, request: ToolCallRequest, approval: ApprovalRequest) -> ToolMessage:
        is_rejected = approval.status == Status.REJECTED
        text = refusal(approval, fate(approval))
        message = tool_message(request.tool_call, text, failed=is_rejected)
        self._report(request, message, None, approval)
        return message

    @patient
    def _report(
        self, request: ToolCallRequest, message: ToolMessage, seconds: float | None, approval: ApprovalRequest | None
    ) -> None:
        with self.attempt.writing() as run:
            if approval is not None:
                approvals.mark_delivered(approval.pk)
            self._append_result(run, request, message, seconds, approval)
        if approval is not None:
            self.attempt.settled()

    @patient
    def _withdraw(self, request: ToolCallRequest, reason: str) -> ToolMessage:
        """What to tell of a call whose tool was deleted, whatever was or will be decided about it."""
        with self.attempt.writing() as run:
            last = cancellations.withdraw(run.pk, namespace(request))
            if last is not None and last.output is not None:  # it ran before, and that was told
                has_failed = last.execution == Execution.FAILED
                return with_note(tool_message(request.tool_call, last.output, failed=has_failed), last)
            if began := executions.unknown_since(run.pk, namespace(request)):
                reason = NOT_REPEATED.format(at=when(began))
            message = tool_message(request.tool_call, reason, failed=True)
            self._append_result(run, request, message, None, last)
        self.attempt.settled()
        return message

    def _append_result(
        self,
        run: Run,
        request: ToolCallRequest,
        message: ToolMessage,
        seconds: float | None,
        approval: ApprovalRequest | None,
    ) -> None:
        call = request.tool_call
        payload = events.tool_result(
            step_id=namespace(request),
            call_id=str(call["id"]),
            name=call["name"],
            arguments=call["args"],
            output=message.text,
            failed=message.status == "error",
            seconds=seconds,
            request=approval,
        )
        events.append(run, f"result:{namespace(request)}", self.steps.placed(payload))


def _claim(approval: ApprovalRequest, *, again: bool) -> bool:
    """Whether the call may be started; one that was started before only if `again`."""
    if executions.claim_execution(approval.pk):
        return True
    approval.refresh_from_db(fields=["execution", "execution_started_at"])
    return again and executions.claim_repetition(approval)


@patient
def _look(request_id: UUID) -> TimedRequest:
    approval = approvals.fetch(request_id)
    if approval.status == Status.PENDING and approvals.seconds_left(approval) <= 0:
        approvals.time_out(request_id)
    return approval

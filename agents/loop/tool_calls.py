"""One call of a tool by an agent: how it runs, and how its result is reported."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import ToolCall as ModelsCall
from langchain_core.messages import ToolMessage, messages_to_dict
from langgraph.types import Command

from agents.catalog import tool_code
from agents.catalog.toolspec import ToolSpec
from agents.loop.messages import NOT_REPEATED, moment, plain_text, tool_message, with_note
from agents.loop.steps import Steps, namespace
from agents.models import Run
from agents.runs import events
from agents.runs.attempt import Attempt, Lost
from agents.sandbox import client as sandbox
from agents.sandbox.client import CallContext, SandboxUnavailable, ToolFailed
from aip.core.db import patient
from aip.core.jsonb import storable
from hitl import approvals, cancellations, executions
from hitl.models import ApprovalRequest, Execution

logger = logging.getLogger(__name__)
Handler = Callable[[ToolCallRequest], ToolMessage | Command[Any]]
read_code = patient(tool_code.read)


@dataclass(frozen=True)
class Caller:
    """The agent whose calls these are, in one attempt at its run.

    `background` is what the requests keep of run and agent for those who decide; `requester` started the run.
    """

    attempt: Attempt
    agent_id: UUID
    agent_name: str
    steps: Steps
    background: dict[str, str]


@dataclass(frozen=True)
class Result:
    """The message of a call to the model, and how long the tool ran, in seconds; None if it did not.

    `was_refused`: the tool itself refused the call before it began.
    """

    message: ToolMessage
    seconds: float | None = None
    was_refused: bool = False

    @property
    def has_failed(self) -> bool:
        return self.message.status == "error"


class ToolCall:
    """A call that needs no decision."""

    def __init__(self, caller: Caller, request: ToolCallRequest) -> None:
        self.caller = caller
        self.attempt = caller.attempt
        self.request = request
        self.step = namespace(request)

    @property
    def call(self) -> ModelsCall:
        """As the model asked for it."""
        return self.request.tool_call

    def run(self, spec: ToolSpec) -> ToolMessage:
        """Raises ToolGone, Lost."""
        with self.attempt.busy(gated=False):
            source, _ = read_code(spec.id, spec.version_id)
            result = self.run_tool(self.call, spec, source)
            self.report(result)
            return result.message

    def run_tool(
        self,
        call: ModelsCall,
        spec: ToolSpec,
        source: str,
        *,
        expected_defaults: dict[str, Any] | None = None,
        start_before: float | None = None,
    ) -> Result:
        """Run the tool; a failure is a result too. `call` has the arguments to run it with.

        `start_before` is a time.monotonic(). Raises TooLate, DefaultsChanged, Lost.
        """
        began, stop, was_refused = time.monotonic(), sandbox.Stop(), False
        try:
            with self.attempt.stoppable(stop):
                result = sandbox.call(
                    tool_code.of_spec(spec, source),
                    call["args"],
                    timeout=spec.timeout_seconds,
                    context=self.context_for(spec),
                    expected_defaults=expected_defaults,
                    start_before=start_before,
                    stop=stop,
                )
            message = tool_message(call, result.content, failed=result.failed)
        except (Lost, sandbox.TooLate, sandbox.DefaultsChanged):
            raise
        except (ToolFailed, SandboxUnavailable) as e:
            was_refused = isinstance(e, sandbox.NotRun | SandboxUnavailable)
            message = tool_message(call, str(e), failed=True)
        except Exception as e:
            # A call that was started must come to an end, whatever goes wrong around it.
            logger.exception("A tool could not be run")
            message = tool_message(call, f"The tool could not be run ({type(e).__name__}).", failed=True)
        return Result(message, time.monotonic() - began, was_refused)

    def refuse(self, why: str) -> ToolMessage:
        """The message of a call that cannot run, whoever is asked. Raises Lost."""
        message = tool_message(self.call, why, failed=True)
        self.report(Result(message))
        return message

    def refuse_unknown(self, handler: Handler) -> ToolMessage:
        """What LangChain says to a model that calls a tool which the agent does not have. Raises Lost."""
        with self.attempt.busy(gated=False):
            message = handler(self.request)
            if not isinstance(message, ToolMessage):
                raise TypeError(f"An unknown tool gave {type(message).__name__}.")
            message = message.model_copy(update={"content": storable(message.text)})
            self.report(Result(message, 0.0))
            return message

    def context_for(self, spec: ToolSpec) -> CallContext:
        """What the tool can have injected; the conversation only where the tool wants it."""
        kinds = {kind.partition(".")[0] for kind in spec.manifest.get("injected", {}).values()}
        state: Any = self.request.state
        return CallContext(
            call_id=str(self.call["id"]),
            run_id=str(self.attempt.run_id),
            agent=self.caller.agent_name,
            user=self.caller.background.get("requester", ""),
            messages=messages_to_dict(state["messages"]) if kinds & {"state", "runtime"} else (),
        )

    @patient
    def report(self, result: Result) -> None:
        """Raises Lost."""
        with self.attempt.writing() as run:
            self.append_result(run, self.call, result)

    @patient
    def withdraw(self, reason: str) -> ToolMessage:
        """The message of a call whose tool was deleted, whatever was or will be decided about it. Raises Lost."""
        with self.attempt.writing() as run:
            last = cancellations.withdraw(run.pk, self.step)
            if last is not None and last.output is not None:
                return self.earlier_result(last)
            if began := executions.unknown_since(run.pk, self.step):
                reason = NOT_REPEATED.format(at=moment(began))
            message = tool_message(self.call, reason, failed=True)
            self.append_result(run, self.call, Result(message), last)
        self.attempt.mark_delivered()
        return message

    def earlier_result(self, approval: ApprovalRequest) -> ToolMessage:
        """The message of a call that ran, and whose result was reported, before this attempt entered it."""
        has_failed = approval.execution != Execution.FINISHED
        ran = approval.execution != Execution.NOT_RUN
        return with_note(tool_message(self.call, approval.output or "", failed=has_failed), approval, ran=ran)

    def append_result(
        self, run: Run, call: ModelsCall, result: Result, approval: ApprovalRequest | None = None
    ) -> None:
        """`call` has the arguments that ran, or would have."""
        payload = events.tool_result(
            step_id=self.step,
            call_id=str(call["id"]),
            name=call["name"],
            arguments=call["args"],
            output=plain_text(result.message),
            failed=result.has_failed,
            seconds=result.seconds,
            request=approval,
        )
        events.append(run, f"result:{self.step}", self.caller.steps.placed(payload))

    def report_decided(self, result: Result, approval: ApprovalRequest) -> None:
        """The result of a call that did not run, by the decision about it. Raises Lost."""
        self._report_decided(result, approval)
        self.attempt.mark_delivered()

    @patient
    def _report_decided(self, result: Result, approval: ApprovalRequest) -> None:
        with self.attempt.writing() as run:
            approvals.mark_delivered(approval.pk)
            self.append_result(run, self.call, result, approval)

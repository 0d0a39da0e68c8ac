"""One gated call: asked about, decided, and run at most once under a decision about exactly these arguments.

It is entered again by whoever takes the run over, which does no harm: its request is found by the call's
`checkpoint_ns`, the decision stands in its row, and the right to run the tool is given once.
"""

import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages import ToolCall as ModelsCall
from langgraph.types import interrupt

from agents.catalog import packages, tool_code
from agents.catalog import tools as tool_catalog
from agents.catalog.toolspec import ToolSpec
from agents.loop.messages import (
    CHANGED,
    DEFAULTS_CHANGED,
    DID_NOT_RUN,
    ENOUGH,
    FAILED_BEFORE_IT_BEGAN,
    FAILED_UNDECIDED,
    NOT_RUN_AGAIN,
    NOT_STARTED,
    UNCHECKED,
    UNKNOWN_OUTCOME,
    context,
    moment,
    plain_text,
    refusal,
    refused_arguments,
    tool_message,
    with_note,
)
from agents.loop.tool_calls import Caller, Result, ToolCall, read_code
from agents.runs import argument_checks, events
from agents.sandbox import client as sandbox
from aip.core.db import patient
from hitl import approvals, doorbell, executions
from hitl.approvals import TimedRequest
from hitl.argument_check import Unchecked
from hitl.call import Call, changes
from hitl.models import Execution, Status
from hitl.schema_process import Errors
from hitl.seal import VERSION

logger = logging.getLogger(__name__)

# How often a call is handed over that the sandbox takes too late, before it is given up.
MAX_STARTS = 11
# After so many rejections of the same call in one run nobody is asked about it any more.
MAX_REJECTIONS = 2
_manifest_of = patient(tool_catalog.manifest_of)


class GatedCall(ToolCall):
    """`approval` is the last request about the call: `enter` opens or finds it."""

    approval: TimedRequest

    def __init__(self, caller: Caller, request: ToolCallRequest, spec: ToolSpec) -> None:
        super().__init__(caller, request)
        self.spec = spec
        self.warning = ""

    def enter(self) -> ToolMessage:
        """Ask, wait, and do what was decided; ask again where the approval does not cover what would run.

        Raises ToolGone, Lost, GraphInterrupt.
        """
        if errors := self._refused_arguments():
            return self.refuse(refused_arguments(errors))
        if self._was_asked_often() and (times := self._rejections()) >= MAX_REJECTIONS and not self._is_asked_about():
            return self.refuse(ENOUGH.format(times=times))
        self.approval = self._open()
        while True:
            self._await_decision()
            if self._was_closed_by_failure():
                self._ask_after_failure()
                continue
            if self.approval.status != Status.APPROVED:
                return self._refuse()
            if self.approval.output is not None:
                return self.earlier_result(self.approval)
            with self.attempt.busy(gated=True) as may_begin:
                if not may_begin:
                    interrupt("parked")
                result = self._run_approved()
            if result is not None:
                return with_note(result.message, self.approval, ran=not result.was_refused)

    def _refused_arguments(self) -> Errors:
        """What the tool certainly refuses, before anybody is asked; empty where a request exists already.

        Notes for the person who is asked where it could not be checked. Raises ToolGone.
        """
        if argument_checks.are_settled(self.spec, self.call["args"]) or self._is_asked_about():
            return {}
        source, _ = read_code(self.spec.id, self.spec.version_id)
        self.spec = replace(self.spec, manifest=_manifest_of(self.spec, source))
        if argument_checks.are_settled(self.spec, self.call["args"]):
            return {}
        try:
            return argument_checks.refused(self.spec, source, self.call["args"])
        except Unchecked as e:
            self.warning = UNCHECKED.format(why=e)
            return {}

    def _was_asked_often(self) -> bool:
        """Whether it can have been rejected often enough: no statement for a call that is new to its conversation.

        A sub-agent's conversation has not what its agent asked for in earlier tasks.
        """
        if self.caller.steps.is_sub_agent:
            return True
        messages = self.request.state["messages"]
        asked = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        alike = [each for each in asked if (each["name"], each["args"]) == (self.call["name"], self.call["args"])]
        return len(alike) > MAX_REJECTIONS

    @patient
    def _rejections(self) -> int:
        return approvals.rejections(self.attempt.run_id, self.spec.id, self.call["args"])

    @patient
    def _is_asked_about(self) -> bool:
        return approvals.latest_round(self.attempt.run_id, self.step) is not None

    @patient
    def _open(self) -> TimedRequest:
        """The request about the call; opened if it is not there yet. Raises ToolGone, Lost."""
        led_to_it = context(self.request.state["messages"], self.spec.description, self.caller.background)
        with self.attempt.writing() as run:
            _, digest = tool_code.read(self.spec.id, self.spec.version_id, locked=True)
            call = self._as_asked_about(self.call, digest, tool_defaults=self.spec.defaults, version=VERSION)
            timeout = self.spec.hitl_timeout_seconds or 0
            approval = approvals.open_request(call, timeout_seconds=timeout, context=led_to_it)
            if approval.status == Status.PENDING:
                events.append(run, f"pending:{approval.pk}", self.caller.steps.placed(events.pending(approval)))
        return approval

    def _await_decision(self) -> None:
        """Hold on the request's Redis key until it is closed; park when it is time to.

        Enforces the request's deadline. Holds no database connection while it blocks. Raises Lost, GraphInterrupt.
        """
        if self.approval.status != Status.PENDING:
            return
        with self.attempt.waiting():
            while self.approval.status == Status.PENDING:
                if self.attempt.lost:
                    raise self.attempt.abandon()
                if self.attempt.must_park():
                    interrupt("parked")
                if (left := approvals.seconds_left(self.approval)) > 0:
                    doorbell.wait(self.approval.pk, min(left, self.attempt.hold_left()))
                self.approval = _read(self.approval.pk)

    def _was_closed_by_failure(self) -> bool:
        """Whether the run failed before the call was decided, or had begun, and was resumed since.

        A request is also cancelled with its tool, whose code cannot be read any more, and at the end of a run, which
        the next write finds.
        """
        has_not_begun = self.approval.status == Status.APPROVED and self.approval.execution == Execution.NONE
        return self.approval.status == Status.CANCELLED or (has_not_begun and self.approval.settled_at is not None)

    def _ask_after_failure(self) -> None:
        """Raises ToolGone, Lost."""
        _, digest = read_code(self.spec.id, self.spec.version_id)
        call = self._as_asked_about(self._to_run, digest, tool_defaults=self.spec.defaults, version=VERSION)
        was_approved = self.approval.status == Status.APPROVED
        reason = FAILED_BEFORE_IT_BEGAN if was_approved else FAILED_UNDECIDED
        self._ask_again(call, reason.format(at=moment(self.approval.closed_at)))

    def _refuse(self) -> ToolMessage:
        """The message of a call that the decision does not let run."""
        text = refusal(self.approval, self._outcome())
        message = tool_message(self.call, text, failed=self.approval.status == Status.REJECTED)
        self.report_decided(Result(message), self.approval)
        return message

    @patient
    def _outcome(self) -> str:
        """What is known of a call that may not run, as a part of a sentence."""
        is_again = self.approval.round > 1
        began = executions.unknown_since(self.approval.run_id, self.approval.checkpoint_ns) if is_again else None
        return NOT_RUN_AGAIN.format(at=moment(began)) if began else DID_NOT_RUN

    def _run_approved(self) -> Result | None:
        """The tool's result; None where it has to be asked again, as it then is.

        That is where what would run is not what was approved, or may have run already.
        """
        source, call, start_before = self._judge(again=self.spec.idempotent)
        unknown = UNKNOWN_OUTCOME.format(at=moment(self.approval.execution_started_at))
        if call.seal != self.approval.decision.seal:
            changed = CHANGED.format(at=moment(self.approval.closed_at), changes=changes(self.approval, call))
            has_begun = self.approval.execution in (Execution.STARTED, Execution.UNKNOWN)
            self._ask_again(call, f"{unknown} {changed}" if has_begun else changed)
            return None
        try:
            result = None if start_before is None else self._start(source, start_before)
        except sandbox.DefaultsChanged as e:
            now = replace(call, tool_defaults={**call.tool_defaults, **e.now})
            at = moment(self.approval.closed_at)
            self._ask_again(now, DEFAULTS_CHANGED.format(at=at, changes=changes(self.approval, now)), ran=False)
            return None
        if result is None:
            self._ask_again(call, unknown)
            return None
        self._end(result)
        return result

    @patient
    def _judge(self, *, again: bool) -> tuple[str, Call, float | None]:
        """The code and the call as they are now and, where the decision covers them, the right to start.

        That is until when, by time.monotonic(), the call may start; None when it was started before. Raises ToolGone.
        """
        with self.attempt.starting() as start_before:
            source, digest = tool_code.read(self.spec.id, self.spec.version_id, locked=True)
            before = self.approval
            call = self._as_asked_about(
                self._to_run, digest, tool_defaults=before.tool_defaults, version=before.seal_version
            )
            may_start = call.seal == self.approval.decision.seal and self._claim(again=again)
        return source, call, start_before if may_start else None

    def _claim(self, *, again: bool) -> bool:
        """Whether the call may be started; one that was started before only if `again`."""
        if executions.claim_execution(self.approval.pk):
            return True
        self.approval.refresh_from_db(fields=["execution", "execution_started_at"])
        return again and executions.claim_repetition(self.approval)

    def _start(self, source: str, start_before: float) -> Result | None:
        """The result of the tool; None when another attempt has started it, and it may have run.

        Raises DefaultsChanged.
        """
        for _ in range(MAX_STARTS):
            with suppress(sandbox.TooLate):
                return self.run_tool(
                    self._to_run,
                    self.spec,
                    source,
                    expected_defaults=self.approval.defaults_beside(self._to_run["args"]),
                    start_before=start_before,
                )
            # It was handed over too late, so it has certainly not begun, and is handed over again.
            source, _, claimed = self._judge(again=True)
            if claimed is None:
                return None
            start_before = claimed
        return Result(tool_message(self._to_run, NOT_STARTED, failed=True), 0.0)

    def _end(self, result: Result) -> None:
        self._record(result)
        self.attempt.mark_delivered()

    @patient
    def _record(self, result: Result) -> None:
        execution = Execution.FAILED if result.has_failed else Execution.FINISHED
        execution = Execution.NOT_RUN if result.was_refused else execution
        with self.attempt.writing() as run:
            executions.end_execution(self.approval.pk, execution=execution, output=plain_text(result.message))
            self.append_result(run, self._to_run, result, self.approval)

    def _ask_again(self, call: Call, reason: str, *, ran: bool = True) -> None:
        """Open the next round; where the call was started, it may have run unless not `ran`. Raises ToolGone, Lost."""
        logger.warning("The call of %s, request %s, is asked about again: %s", call.tool_name, self.approval.pk, reason)
        # What is asked from now on is under the seal of now, also where the round before was of an earlier version.
        call = replace(
            call,
            seal_version=VERSION,
            tool_defaults=call.tool_defaults or self.spec.defaults,
            warning=call.warning or self.approval.warning,
        )
        self.approval = self._open_next_round(call, reason, ran=ran)
        self.attempt.mark_delivered()

    @patient
    def _open_next_round(self, call: Call, reason: str, *, ran: bool) -> TimedRequest:
        before, steps = self.approval, self.caller.steps
        with self.attempt.writing() as run:
            tool_code.read(self.spec.id, self.spec.version_id, locked=True)
            if not ran:
                executions.end_execution(before.pk, execution=Execution.NOT_RUN, output=reason)
            if before.status != Status.CANCELLED:  # the wire has no word for that, and the run's end was told
                events.append(run, f"again:{before.pk}", steps.placed(events.asked_again(before, reason)))
            asked = approvals.ask_again(before, call, reason)
            events.append(run, f"pending:{asked.pk}", steps.placed(events.pending(asked)))
        return asked

    @property
    def _to_run(self) -> ModelsCall:
        """The call with the arguments that an approval lets run: the model's, or an operator's in their place."""
        edited = self.approval.operators_arguments
        return self.call if edited is None else {**self.call, "args": edited}

    def _as_asked_about(self, call: ModelsCall, digest: str, *, tool_defaults: dict[str, Any], version: int) -> Call:
        """What a seal of this version covers, with the code of this digest, and what a request keeps.

        That the tool still has these defaults is seen in its own process, before its body runs.
        """
        return Call(
            tool_id=self.spec.id,
            tool_version=digest,
            tool_name=self.spec.name,
            arguments=call["args"],
            agent_id=self.caller.agent_id,
            run_id=self.attempt.run_id,
            checkpoint_ns=self.step,
            agent_name=self.caller.agent_name,
            tool_call_id=str(call["id"]),
            args_schema=self.spec.args_schema,
            tool_defaults=tool_defaults,
            settings=self.spec.settings,
            packages=packages.key_of(self.spec.manifest),
            warning=self.warning,
            seal_version=version,
            destructive=self.spec.destructive,
            requester=self.caller.background.get("requester", ""),
        )


@patient
def _read(request_id: UUID) -> TimedRequest:
    """A request as it is now; one that is past its deadline is closed."""
    approval = approvals.fetch(request_id)
    if approval.status == Status.PENDING and approvals.seconds_left(approval) <= 0:
        approvals.time_out(request_id)
    return approval

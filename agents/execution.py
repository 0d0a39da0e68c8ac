"""Carry a run: build its agent, drive it until it ends, parks or is lost, and say what came of it."""

import logging
from uuid import UUID

from langchain_core.messages import AIMessage, AnyMessage

from agents import attempts, checkpoints, events, llm, runs, specs
from agents.attempts import Attempt, Lost
from agents.engine import StepLimitReached, build_tool, carry
from agents.gate import Gate
from agents.models import Run, Status
from aip.db import AWAY, patiently

logger = logging.getLogger(__name__)


class UnreadableCall(Exception):
    """The model asked for a tool with arguments that are not JSON."""


def execute(run_id: UUID) -> None:
    """Carry a run as far as it goes. Returns quietly when there is nothing to take."""
    while (claimed := patiently(lambda: runs.claim(run_id))) is not None:
        run, attempt = claimed
        with attempts.carrying(attempt):
            try:
                parked = _carry(run, attempt)
            except Lost:
                logger.info("Attempt %d at run %s ends here: it is not ours any more", attempt.number, run_id)
                return
            except AWAY as e:
                # It stays ours, and nobody carries it: the watch gives it back.
                logger.warning("Attempt %d at run %s ends here: %s", attempt.number, run_id, type(e).__name__)
                return
        # Once parked, look once more: what was decided meanwhile found a run that was held, and queued nothing.
        if not parked or attempts.stopping.is_set():
            return


def _carry(run: Run, attempt: Attempt) -> bool:
    """Whether it parked; else it has ended. Raises Lost, and what is said of a database that is away."""
    try:
        conversation = _drive(run, attempt)
    except (Lost, *AWAY):
        raise
    except Exception as e:  # noqa: BLE001 - whatever ends a run, its stream must say so
        failed = events.failed(run.pk, _reason(e, run))
        patiently(lambda: runs.end(attempt, Status.FAILED, failed, usage={}))
        return False
    if conversation is None:
        patiently(lambda: runs.park(attempt))
        return True
    answered = events.answered(run.pk, conversation[-1].text)
    patiently(lambda: runs.end(attempt, Status.SUCCEEDED, answered, usage=_usage(conversation)))
    return False


def _drive(run: Run, attempt: Attempt) -> list[AnyMessage] | None:
    tools = [specs.thaw(tool) for tool in run.spec["tools"]]
    gate = Gate(
        attempt,
        agent_id=run.agent_id,
        agent_name=run.spec["agent_name"],
        tools=tools,
        background={name: run.spec.get(name, "") for name in ("requester", "agent_version", "instruction")},
    )
    return carry(
        model=llm.build(llm.Model(**run.spec["model"])),
        tools=[build_tool(spec) for spec in tools],
        instruction=run.spec["instruction"],
        messages=run.spec["messages"],
        middleware=gate,
        checkpointer=checkpoints.Saver(attempt),
        thread_id=str(run.pk),
        resume=attempt.number > 1,
        report=lambda message: _report(attempt, message),
    )


def _report(attempt: Attempt, message: AIMessage) -> None:
    if message.tool_calls:
        patiently(lambda: _write(attempt, f"calls:{message.id}", events.tools_called(message)))
    elif message.invalid_tool_calls:
        raise UnreadableCall


def _write(attempt: Attempt, key: str, payload: events.Payload) -> None:
    with attempt.writing() as run:
        events.append(run, key, payload)


def _usage(conversation: list[AnyMessage]) -> dict[str, int]:
    """The tokens that the run used, as the model counted them, over all its attempts."""
    counted = [m.usage_metadata for m in conversation if isinstance(m, AIMessage) and m.usage_metadata]
    keys = ("input_tokens", "output_tokens", "total_tokens")
    return {key: sum(usage[key] for usage in counted) for key in keys} if counted else {}  # type: ignore[literal-required]


def _reason(exc: Exception, run: Run) -> str:
    """Why a run failed, for its reader."""
    if isinstance(exc, StepLimitReached):
        return str(exc)
    model = llm.Model(**run.spec["model"])
    if isinstance(exc, UnreadableCall):
        return f"The model {model} asked for a tool with arguments that are not JSON; try again, or use another model."
    if reason := llm.explain(exc, model):
        logger.warning("Run %s failed: %s", run.pk, reason)
        return reason
    logger.error("Run %s failed", run.pk, exc_info=exc)
    return f"The run failed inside the server ({type(exc).__name__}); the worker's log says more."

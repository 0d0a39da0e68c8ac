"""Carry a run: build its agent, drive it until it ends, parks or is lost, and say what came of it."""

import logging
from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.errors import GraphBubbleUp

from agents.catalog import model_names, snapshot
from agents.llm import chat_models
from agents.loop import checkpoints
from agents.loop.engine import StepLimitReached, build_agent, build_tool, carry
from agents.loop.gate import Gate
from agents.loop.messages import tools_called
from agents.loop.model_answers import finish_reason
from agents.loop.subagent_tool import SubAgentTool, usage
from agents.loop.token_stream import Tokens
from agents.models import Run, RunStatus
from agents.runs import events, lifecycle
from agents.runs.attempt import Attempt, Lost, executing, is_stopping
from aip.core.db import AWAY, patient

logger = logging.getLogger(__name__)


class LostInGraph(Lost, GraphBubbleUp):
    """Lost, as a kind that ends a graph and that LangGraph does not take for a failure of a call."""


def execute(run_id: UUID) -> None:
    """Carry a run as far as it goes. Returns quietly when there is nothing to take."""
    while (claimed := patient(lifecycle.claim)(run_id)) is not None:
        run, attempt = claimed
        with executing(attempt):
            attempt.lost_as = LostInGraph
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
        if not parked or is_stopping():
            return


def _carry(run: Run, attempt: Attempt) -> bool:
    """Whether it parked; else it has ended. Raises Lost, and what is said of a database that is away."""
    try:
        conversation = _drive(run, attempt)
    except (Lost, *AWAY):
        raise
    except Exception as e:  # noqa: BLE001 - whatever ends a run, its stream must say so
        failed = events.failed(run.pk, _reason(e, run))
        patient(lifecycle.end)(attempt, RunStatus.FAILED, failed, usage={})
        return False
    if conversation is None:
        patient(lifecycle.park)(attempt)
        return True
    used = usage(conversation)
    last = conversation[-1]
    answered = events.answered(
        run.pk,
        last.text,
        used,
        model=str(model_names.Model(**run.spec["model"])),
        finish_reason=finish_reason(last) if isinstance(last, AIMessage) else "",
    )
    patient(lifecycle.end)(attempt, RunStatus.SUCCEEDED, answered, usage=used)
    return False


def _drive(run: Run, attempt: Attempt) -> list[AnyMessage] | None:
    name = run.spec["agent_name"]
    return carry(
        **_parts(attempt, run, run.spec, Tokens(run.pk)),
        messages=run.spec["messages"],
        checkpointer=checkpoints.Saver(attempt),
        thread_id=str(run.pk),
        resume=attempt.number > 1,
        report=lambda message: _report(attempt, name, message),
    )


def _parts(
    attempt: Attempt, run: Run, spec: snapshot.Spec, listener: Tokens, *, leader: str | None = None
) -> dict[str, Any]:
    """What an agent is made of, by the names of `engine.build_agent`.

    `spec` is the run's, or that of a sub-agent, whose `leader` is the agent that gives it tasks. `listener` hears the
    agent's model. Raises ModelUnusable.
    """
    is_sub_agent = leader is not None
    tools = [snapshot.thaw(tool) for tool in spec["tools"]]
    gate = Gate(
        attempt,
        agent_id=UUID(spec["agent_id"]) if is_sub_agent else run.agent_id,
        agent_name=spec["agent_name"],
        tools=tools,
        listener=listener,
        background={
            "requester": run.spec.get("requester", ""),
            "agent_version": spec.get("agent_version", ""),
            "instruction": spec["instruction"] or "",
            "leader": leader or "",
            "run_ends_at": run.deadline_at.isoformat() if run.deadline_at else "",
        },
        is_sub_agent=is_sub_agent,
    )
    return {
        "model": chat_models.build(model_names.Model(**spec["model"]), listener),
        "tools": [
            *map(build_tool, tools),
            *(_sub_agent(attempt, run, sub, leader=spec["agent_name"]) for sub in spec.get("agents", [])),
        ],
        "instruction": spec["instruction"] or "",
        "middleware": gate,
    }


def _sub_agent(attempt: Attempt, run: Run, spec: snapshot.Spec, *, leader: str) -> SubAgentTool:
    """Built when it is called: an agent whose model cannot be asked spoils no run that does without it."""
    model = model_names.Model(**spec["model"])
    return SubAgentTool(
        name=spec["tool_name"],
        description=spec["description"] or f"Gives a task to the agent {spec['agent_name']} and waits for its answer.",
        build=lambda: build_agent(**_parts(attempt, run, spec, Tokens(), leader=leader)),
        explain=lambda exc: _explain(exc, model),
    )


def _report(attempt: Attempt, agent_name: str, message: AIMessage) -> None:
    if message.tool_calls:
        called = events.with_parents(tools_called(message), under=[events.ROOT_STEP], agent_name=agent_name)
        _write(attempt, f"calls:{message.id}", called)


@patient
def _write(attempt: Attempt, key: str, payload: events.Payload) -> None:
    with attempt.writing() as run:
        events.append(run, key, payload)


def _reason(exc: Exception, run: Run) -> str:
    """Why a run failed, for its reader."""
    if reason := _explain(exc, model_names.Model(**run.spec["model"])):
        logger.warning("Run %s failed: %s", run.pk, reason)
        return reason
    logger.error("Run %s failed", run.pk, exc_info=exc)
    return f"The run failed inside the server ({type(exc).__name__}); the worker's log says more."


def _explain(exc: Exception, model: model_names.Model) -> str | None:
    """Why an agent came to no answer, where that lies with its model; None if something else is wrong."""
    if isinstance(exc, StepLimitReached):
        return str(exc)
    return chat_models.explain(exc, model)

"""Execute a run: build its agent, run it until it ends, parks or is lost, and record the outcome."""

import logging
from uuid import UUID

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.errors import GraphBubbleUp

from agents.catalog import model_names, snapshot
from agents.llm import chat_models
from agents.loop import checkpoints
from agents.loop.engine import AgentParts, StepLimitReached, TooDeep, build_agent, build_tool, run_agent
from agents.loop.gate import Gate
from agents.loop.messages import tools_called
from agents.loop.model_answers import finish_reason
from agents.loop.steps import Steps
from agents.loop.subagent_tool import SubAgentTool, usage
from agents.loop.token_stream import TokenStream
from agents.loop.tool_calls import Caller
from agents.models import Run
from agents.runs import events, lifecycle
from agents.runs.attempt import Attempt, Lost, executing, is_stopping
from aip.core.db import AWAY, patient

logger = logging.getLogger(__name__)

# Why a run failed that can be resumed, as words for programs.
RESUMABLE = ("model_failed", "step_limit_exceeded")


class LostInGraph(Lost, GraphBubbleUp):
    """Lost, as a kind that ends a graph and that LangGraph does not take for a failure of a call."""


def execute(run_id: UUID) -> None:
    """Execute a run as far as it goes. Returns quietly if there is nothing to claim."""
    while (claimed := patient(lifecycle.claim)(run_id)) is not None:
        run, attempt = claimed
        with executing(attempt):
            attempt.lost_as = LostInGraph
            try:
                parked = _execute_attempt(run, attempt)
            except Lost:
                logger.info("Attempt %d at run %s ends here: it is not ours any more", attempt.number, run_id)
                return
            except AWAY as e:
                # It stays claimed and nothing executes it: the heartbeat loop releases it.
                logger.warning("Attempt %d at run %s ends here: %s", attempt.number, run_id, type(e).__name__)
                return
        # Once parked, look once more: what was decided meanwhile found a run that was held, and queued nothing.
        if not parked or is_stopping():
            return


def _execute_attempt(run: Run, attempt: Attempt) -> bool:
    """Return whether the run parked; otherwise it has ended. Raises Lost, and the errors of an unavailable database."""
    try:
        conversation = _run_agent(run, attempt)
    except (Lost, *AWAY):
        raise
    except Exception as e:  # noqa: BLE001 - whatever ends a run, its stream must say so
        reason, error_code = _reason(e, run)
        failed = events.failed(run.pk, reason, error_code)
        patient(lifecycle.fail)(attempt, failed, is_resumable=error_code in RESUMABLE)
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
    patient(lifecycle.succeed)(attempt, answered, used)
    return False


def _run_agent(run: Run, attempt: Attempt) -> list[AnyMessage] | None:
    name = run.spec["agent_name"]
    return run_agent(
        _parts(attempt, run, run.spec, TokenStream(run.pk)),
        messages=run.spec["messages"],
        checkpointer=checkpoints.Saver(attempt),
        thread_id=str(run.pk),
        resume=attempt.number > 1,
        resumptions=run.resumptions,
        report=lambda message: _report(attempt, name, message),
    )


def _parts(
    attempt: Attempt, run: Run, spec: snapshot.Spec, listener: TokenStream, *, leader: str | None = None
) -> AgentParts:
    """What the agent of `spec` is made of. Raises ModelUnusable.

    `spec` is the run's, or that of a sub-agent, whose `leader` is the agent that gives it tasks. `listener` receives
    what the agent's model streams.
    """
    is_sub_agent = leader is not None
    tools = [snapshot.thaw(tool) for tool in spec["tools"]]
    caller = Caller(
        attempt,
        agent_id=UUID(spec["agent_id"]) if is_sub_agent else run.agent_id,
        agent_name=spec["agent_name"],
        steps=Steps(attempt, spec["agent_name"], is_sub_agent=is_sub_agent),
        background={
            "requester": run.spec.get("requester", ""),
            "agent_version": spec.get("agent_version", ""),
            "instruction": spec["instruction"] or "",
            "leader": leader or "",
            "run_ends_at": run.deadline_at.isoformat() if run.deadline_at else "",
        },
    )
    return AgentParts(
        model=chat_models.build(model_names.Model(**spec["model"]), listener),
        tools=[
            *map(build_tool, tools),
            *(_sub_agent(attempt, run, sub, leader=spec["agent_name"]) for sub in spec.get("agents", [])),
        ],
        instruction=spec["instruction"] or "",
        middleware=Gate(caller, tools, listener),
    )


def _sub_agent(attempt: Attempt, run: Run, spec: snapshot.Spec, *, leader: str) -> SubAgentTool:
    """The tool that gives tasks to a sub-agent.

    The sub-agent is built when it is called, so one whose model is unusable fails no run that does not call it.
    """
    model = model_names.Model(**spec["model"])
    return SubAgentTool(
        name=spec["tool_name"],
        description=spec["description"] or f"Gives a task to the agent {spec['agent_name']} and waits for its answer.",
        build=lambda: build_agent(_parts(attempt, run, spec, TokenStream(), leader=leader)),
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


def _reason(exc: Exception, run: Run) -> tuple[str, str]:
    """Why a run failed: for its reader, and as the word for programs."""
    if reason := _explain(exc, model_names.Model(**run.spec["model"])):
        logger.warning("Run %s failed: %s", run.pk, reason)
        is_limit = isinstance(exc, StepLimitReached) and not isinstance(exc, TooDeep)
        return reason, "step_limit_exceeded" if is_limit else "model_failed"
    logger.error("Run %s failed", run.pk, exc_info=exc)
    return f"The run failed inside the server ({type(exc).__name__}); the worker's log says more.", "server_error"


def _explain(exc: Exception, model: model_names.Model) -> str | None:
    """Why an agent came to no answer, if its model is the reason; otherwise None."""
    if isinstance(exc, StepLimitReached):
        return str(exc)
    return chat_models.explain(exc, model)

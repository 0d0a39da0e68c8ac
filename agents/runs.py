"""Start, claim, execute and end runs: the only writer of Run."""

import logging
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from langchain_core.messages import AIMessage

from agents import checkpoints, configs, events, llm, sandbox
from agents.engine import StepLimitReached, ToolSpec, build_tool, steps
from agents.gate import Gate
from agents.models import REQUEUE_AFTER, Agent, Run, Status, ToolVersion
from aip.db import patiently
from hitl import approvals

logger = logging.getLogger(__name__)

Spec = dict[str, Any]

# How many lost runs one look of the sweep queues again.
REQUEUE_BATCH = 100
MAX_REQUEUE_DOUBLINGS = 8


class UnreadableCall(Exception):
    """The model asked for a tool with arguments that are not JSON."""


def start(
    agent: Agent,
    *,
    input: str,
    chat_history: list[dict[str, str]],
    runtime_config: dict[str, Any],
) -> Run:
    """Write a run, its frozen spec and its first event, and queue it after the commit. Raises configs.Invalid."""
    spec = _freeze(agent, runtime_config)
    spec["messages"] = [*chat_history, {"role": "user", "content": input}]
    with transaction.atomic():
        run = Run.objects.create(agent=agent, input=input, spec=spec)
        events.record(run.pk, "opened", events.opened(run.pk, str(llm.Model(**spec["model"]))))
        transaction.on_commit(lambda: _enqueue(run.pk), robust=True)
    return run


def _enqueue(run_id: UUID) -> None:
    from agents.tasks import execute_run

    execute_run.delay(str(run_id))


def _freeze(agent: Agent, runtime_config: dict[str, Any]) -> Spec:
    runtime_config = configs.merged(runtime_config, _entry_of(agent, runtime_config))
    agent_config = configs.merged(agent.agent_config, runtime_config.get("agent_config") or {})
    overrides = configs.by_tool_id(runtime_config.get("tool_configs") or {})
    tool_configs = configs.merged(agent.tool_configs, overrides)
    configs.check_agent_config(agent_config)
    configs.check_tool_configs(tool_configs)
    tools = [entry.tool for entry in agent.agent_tools.select_related("tool__current")]
    return {
        "agent_name": agent.name,
        "instruction": agent.instruction,
        "model": llm.of_agent(agent_config, agent.language_model_id).as_spec(),
        "tools": [_freeze_tool(tool, agent_config, tool_configs.get(str(tool.pk)) or {}) for tool in tools],
    }


def _entry_of(agent: Agent, runtime_config: dict[str, Any]) -> dict[str, Any]:
    """What `runtime_config` says under the agent's own id (contract 3.4.1)."""
    found = [value for key, value in runtime_config.items() if key.strip().lower() == str(agent.pk)]
    for entry in found:
        parts = (
            [entry.get(key) or {} for key in ("agent_config", "tool_configs")] if isinstance(entry, dict) else [None]
        )
        if not all(isinstance(part, dict) for part in parts):
            raise configs.Invalid(
                f"{agent.pk} must be an object with agent_config and tool_configs, which are objects."
            )
    return found[0] if found else {}


def _freeze_tool(tool: Any, agent_config: dict[str, Any], config: dict[str, Any]) -> Spec:
    version: ToolVersion = tool.current
    frozen = ToolSpec(
        id=tool.pk,
        version_id=version.pk,
        digest=version.digest,
        name=version.tool_name,
        class_name=version.class_name,
        description=version.description,
        args_schema=version.args_schema,
        fields={key: value for key, value in config.items() if key not in configs.RESERVED},
        hitl_timeout_seconds=configs.hitl_timeout(agent_config, config),
        timeout_seconds=config.get("timeout_seconds", configs.TOOL_TIMEOUT_SECONDS),
    )
    return asdict(frozen) | {"id": str(frozen.id), "version_id": str(frozen.version_id)}


def execute(run_id: UUID) -> None:
    """Carry a run to its end. Returns quietly when another worker has it or it has ended."""
    run = patiently(lambda: _begin(run_id))
    if run is None:
        return
    try:
        answer, usage = _drive(run)
    except Exception as e:  # noqa: BLE001 - whatever ends a run, its stream must say so
        failed = events.failed(run.pk, _reason(e, run))
        patiently(lambda: _end(run, Status.FAILED, failed, usage={}))
    else:
        patiently(lambda: _end(run, Status.SUCCEEDED, events.answered(run.pk, answer), usage=usage))
    checkpoints.saver().delete_thread(str(run.pk))


def requeue_lost() -> int:
    """Queue again what has been queued for too long; how many. Each time it waits twice as long, up to an hour.

    A run that is in the queue twice is claimed once.
    """
    lost = Run.objects.filter(status=Status.QUEUED, requeue_at__lt=Now()).order_by("requeue_at")
    found = list(lost.values_list("pk", "requeues")[:REQUEUE_BATCH])
    for pk, requeues in found:
        wait = REQUEUE_AFTER * 2 ** min(requeues + 1, MAX_REQUEUE_DOUBLINGS)
        still = Run.objects.filter(pk=pk, status=Status.QUEUED, requeues=requeues)
        if still.update(requeues=F("requeues") + 1, requeue_at=Now() + wait):
            _enqueue(pk)
    return len(found)


def _begin(run_id: UUID) -> Run | None:
    with transaction.atomic():
        run = _claim(run_id)
        if run is not None:
            events.record(run.pk, "begun", events.begun(run.spec["agent_name"]))
    return run


def _claim(run_id: UUID) -> Run | None:
    claimed = Run.objects.filter(pk=run_id, status=Status.QUEUED).update(
        status=Status.RUNNING,
        attempt=F("attempt") + 1,
        started_at=Coalesce("started_at", Now()),
        updated_at=Now(),
    )
    return Run.objects.get(pk=run_id) if claimed else None


def _drive(run: Run) -> tuple[str, dict[str, int]]:
    """The model's last words, and the tokens that the run used."""
    specs = [_thaw(tool) for tool in run.spec["tools"]]
    gate = Gate(
        run_id=run.pk,
        agent_id=run.agent_id,
        agent_name=run.spec["agent_name"],
        tools={spec.name: spec for spec in specs},
    )
    answers = steps(
        model=llm.build(llm.Model(**run.spec["model"])),
        tools=[build_tool(spec, _run_in_sandbox) for spec in specs],
        instruction=run.spec["instruction"],
        messages=run.spec["messages"],
        middleware=gate,
        checkpointer=checkpoints.saver(),
        thread_id=str(run.pk),
    )
    usage: dict[str, int] = {}
    text = ""
    for message in answers:
        for key in ("input_tokens", "output_tokens", "total_tokens"):
            if message.usage_metadata:
                usage[key] = usage.get(key, 0) + message.usage_metadata[key]
        text = message.text
        _report(run, message)
    return text, usage


def _report(run: Run, message: AIMessage) -> None:
    if message.tool_calls:
        patiently(lambda: events.record(run.pk, f"calls:{message.id}", events.tools_called(message)))
    elif message.invalid_tool_calls:
        raise UnreadableCall


def _thaw(tool: Spec) -> ToolSpec:
    return ToolSpec(**{**tool, "id": UUID(tool["id"]), "version_id": UUID(tool["version_id"])})


def _run_in_sandbox(spec: ToolSpec, arguments: dict[str, Any]) -> str:
    source = patiently(lambda: ToolVersion.objects.values_list("source", flat=True).get(pk=spec.version_id))
    return sandbox.call(
        source,
        class_name=spec.class_name,
        fields=spec.fields,
        arguments=arguments,
        timeout=spec.timeout_seconds,
    )


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


def _end(run: Run, status: Status, last_event: events.Payload, *, usage: dict[str, int]) -> None:
    """The terminal event and the status, in one transaction; nothing if the run has ended already.

    A request that is still open then, because something else of its step failed, can have no effect any more.
    """
    with transaction.atomic():
        if usage:
            events.record(run.pk, "usage", events.usage(usage))
        approvals.cancel_open(run.pk)
        if events.record(run.pk, "end", last_event):
            Run.objects.filter(pk=run.pk, status=Status.RUNNING).update(
                status=status, completed_at=Now(), updated_at=Now()
            )

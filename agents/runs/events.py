"""A run's events: the only writer of RunEvent, and the payloads of the stream (contract 3.4.4, 3.4.5, 3.5)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from agents.models import Run
from aip.core import pubsub
from aip.core.jsonb import storable
from hitl.models import ANSWERED, SHORT_SEAL, ApprovalRequest, Status

ROOT_STEP = "root"
# Of one hint about what the model says: its receiver does not trust who sent it.
MAX_TOKEN_CHARACTERS = 100_000
NO_ANSWER = "(The model {model} ended the run without a text; try again, or use another model.)"
# What stands at the end of an answer that is not whole, by the wire's reason.
ENDINGS = {
    "length": "[The answer was cut off here, at the model's limit of length.]",
    "content_filter": "[The answer was ended here by the content filter of the model's provider.]",
}
# Why a run came to no answer: the `error_code` of its last event, and the code's category.
CATEGORIES = {
    "model_failed": "model",
    "step_limit_exceeded": "limit",
    "time_limit_exceeded": "limit",
    "server_error": "server",
    "cancelled": "cancelled",
    "rejected_and_stopped": "cancelled",
}

Payload = dict[str, Any]


def group(run_id: UUID) -> str:
    """The channel group of a run's streams."""
    return f"run.{run_id}"


def locked(run_id: UUID) -> Run:
    """A run's row, locked. Raises Run.DoesNotExist."""
    return lock(Run.objects.filter(pk=run_id)).get()


def lock(runs: QuerySet[Run], *, skip_locked: bool = False) -> QuerySet[Run]:
    """What an event's writer needs of runs, locked when they are read."""
    return runs.select_for_update(no_key=True, skip_locked=skip_locked).only("status", "completed_at", "resumptions")


# One statement, after the one that locked the run: it sees every earlier event. The time is the database's, and the
# event's `time` is in seconds since a worker first claimed the run.
APPEND = """
    INSERT INTO agents_runevent (run_id, seq, key, payload)
    SELECT id, COALESCE((SELECT seq FROM agents_runevent WHERE run_id = %(run)s ORDER BY seq DESC LIMIT 1), 0) + 1,
           %(key)s, jsonb_set(
               %(payload)s::jsonb || jsonb_build_object('timestamp', to_char(
                   STATEMENT_TIMESTAMP() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'
               )),
               '{metadata,time}', to_jsonb(COALESCE(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - started_at), 0.0))
           )
    FROM agents_run WHERE id = %(run)s
    ON CONFLICT (run_id, key) DO NOTHING
"""


def append(run: Run, key: str, payload: Payload) -> bool:
    """Append an event to a run whose row the caller has locked; False when `key` was reported before.

    `seq` is handed out under that lock, so a reader never sees a gap that fills later.
    """
    with connection.cursor() as cursor:
        cursor.execute(APPEND, {"run": run.pk, "key": key, "payload": json.dumps(storable(payload))})
        if cursor.rowcount == 0:
            return False
    # A hint to the streams of the run, which read the row.
    transaction.on_commit(lambda: pubsub.send(group(run.pk), {"type": "run.changed"}), robust=True)
    return True


def _event(kind: str, content: str = "", *, top: Payload | None = None, **metadata: Any) -> Payload:
    return {
        "status": "success",
        "task_state": "working",
        "content": content,
        **(top or {}),
        "metadata": {"kind": kind, **metadata},
    }


def opened(run_id: UUID, model: str) -> Payload:
    """The first event: names the run and its model."""
    top = {
        "status": "streaming_started",
        "event_type": "status_update",
        "run_id": str(run_id),
        "model": model,
    }
    return _event("run_info", top=top, run_id=str(run_id))


def begun(agent_name: str) -> Payload:
    """The root of the step tree."""
    return _event("agent_step", status="running", step_id=ROOT_STEP, previous_step_ids=[], agent_name=agent_name)


def with_parents(payload: Payload, *, under: list[str], agent_name: str, is_sub_agent: bool = False) -> Payload:
    """An event of an agent's step, under the steps `under`, the parent first.

    The published client shows an event that names the run's agent below its root, whatever its parent is.
    """
    parents: Payload = {"previous_step_ids": under, "agent_name": agent_name}
    if is_sub_agent:
        parents["is_sub_agent_event"] = True
    payload["metadata"] |= parents
    return payload


def delegated(*, step_id: str, call_id: str, name: str, arguments: Payload) -> Payload:
    """A sub-agent begins with a task: the step that its own steps stand under."""
    return _event(
        "agent_thinking_step",
        top={"event_type": "tool_call"},
        status="running",
        step_id=step_id,
        previous_step_ids=[ROOT_STEP],
        tool_info=_tool_info(call_id, name, arguments, "", None),
    )


def resumed(run_id: UUID, by: str) -> Payload:
    """A failed run goes on."""
    text = f"The run had failed, and was resumed by {by}."
    return _event("status_update", text, top={"event_type": "status_update"}, status="running", run_id=str(run_id))


def in_order(rows: Sequence[tuple[int, Payload]], *, is_all: bool) -> list[tuple[int, Payload]]:
    """Events as a stream carries them: a run that was resumed has an earlier terminal event, which becomes a note.

    The published client stops at the first terminal event (contract 3.4.5). Unless `is_all`, a terminal event at the
    end of `rows` is left out, because nothing tells yet whether another event follows.
    """
    shown = [(seq, _as_note(payload) if payload.get("is_final") else payload) for seq, payload in rows[:-1]]
    return shown + [row for row in rows[-1:] if is_all or not row[1].get("is_final")]


def _as_note(final: Payload) -> Payload:
    of_its_end = ("is_final", "final", "error_code", "category")
    kept = {key: value for key, value in final.items() if key not in of_its_end}
    metadata = {key: value for key, value in final["metadata"].items() if key not in of_its_end}
    note = {"status": "success", "task_state": "working", "event_type": "status_update"}
    return kept | note | {"metadata": metadata | {"kind": "status_update"}}


def token(text: str) -> Payload:
    """A piece of what the model says, as it says it. A hint: it has no row, and the events after it say all."""
    return _event("token", text[:MAX_TOKEN_CHARACTERS], top={"event_type": "content_chunk"})


def tools_called(*, step_id: str, text: str, calls: Sequence[Mapping[str, Any]], finish_reason: str = "") -> Payload:
    """The model asks for tools. `calls` have an id, a name and args. `finish_reason`: why its answer is not whole."""
    asked = [{"id": call["id"], "name": call["name"], "args": call["args"]} for call in calls]
    return _event(
        "agent_thinking_step",
        _with_end(text, finish_reason),
        top={"event_type": "tool_call"},
        status="running",
        step_id=step_id,
        previous_step_ids=[ROOT_STEP],
        tool_info={"tool_calls": asked, "status": "running"},
        **_finish(finish_reason),
    )


def _tool_info(call_id: str, name: str, arguments: Payload, output: str, seconds: float | None) -> Payload:
    return {"id": call_id, "name": name, "args": arguments, "output": output, "execution_time": seconds}


def _hitl(request: ApprovalRequest) -> Payload:
    again = {"round": request.round, "reason": request.reason} if request.reason else {}
    # The wire has no words of its own for these.
    edited = {"edited": True} if request.operators_arguments is not None else {}
    answered = {"answered": True} if request.outcome == ANSWERED else {}
    seal = request.seal_to_run[:SHORT_SEAL]
    return {**request.as_metadata(), "request_id": str(request.pk), "seal": seal, **edited, **answered, **again}


def pending(request: ApprovalRequest) -> Payload:
    """A call is held back until somebody decides. Recorded in the transaction that opens the request."""
    content = (
        f"Awaiting human approval for request '{request.pk}'. "
        "Invoke ApprovalManager.resolve_pending_request using this identifier to continue execution."
    )
    return _event(
        "agent_thinking_step",
        content,
        status="finished",
        step_id=request.checkpoint_ns,
        previous_step_ids=[ROOT_STEP],
        # Not the request's status: one that is found again may be closed by now, and this event reports its opening.
        hitl=_hitl(request) | {"decision": Status.PENDING},
        tool_info=_tool_info(request.tool_call_id, request.tool_name, request.arguments, content, None),
    )


def asked_again(request: ApprovalRequest, reason: str) -> Payload:
    """What became of an approval that its call could not be run under: the call is asked about again."""
    return _event(
        "agent_thinking_step",
        reason,
        status="running",
        step_id=request.checkpoint_ns,
        previous_step_ids=[ROOT_STEP],
        hitl=_hitl(request),
        tool_info=_tool_info(request.tool_call_id, request.tool_name, request.to_run, reason, None),
    )


def tool_result(
    *,
    step_id: str,
    call_id: str,
    name: str,
    arguments: Payload,
    output: str,
    failed: bool,
    seconds: float | None,
    request: ApprovalRequest | None,
) -> Payload:
    """What became of a tool call: its output, or why it did not run."""
    decided = {"hitl": _hitl(request)} if request else {}
    return _event(
        "agent_thinking_step",
        output,
        top={"event_type": "tool_result"},
        status="failed" if failed else "finished",
        step_id=step_id,
        previous_step_ids=[ROOT_STEP],
        tool_info=_tool_info(call_id, name, arguments, output, seconds),
        **decided,
    )


def usage(total: dict[str, int]) -> Payload:
    return _event("usage", top={"usage": total})


def _finish(reason: str) -> Payload:
    return {"finish_reason": reason} if reason else {}


def _with_end(text: str, finish_reason: str) -> str:
    return "\n\n".join(filter(None, (text, ENDINGS.get(finish_reason, ""))))


def answered(
    run_id: UUID, text: str, total_usage: dict[str, int], *, model: str = "", finish_reason: str = ""
) -> Payload:
    """The terminal event of a run that succeeded. `finish_reason`: why the answer is not whole."""
    used = {"total_usage": total_usage} if total_usage else {}
    top = {
        "task_state": "completed",
        "event_type": "final_response",
        "is_final": True,
        "final": True,
        "run_id": str(run_id),
    }
    answer = _with_end(text or NO_ANSWER.format(model=model), finish_reason)
    more = used | _finish(finish_reason)
    return _event("final_response", answer, top=top, status="finished", run_id=str(run_id), **more)


def failed(run_id: UUID, reason: str, error_code: str, *, step_status: str = "error") -> Payload:
    """The terminal event of a run that failed. Of the kind whose text the published client shows."""
    why = {"error_code": error_code, "category": CATEGORIES[error_code]}
    top = {
        **why,
        "status": "error",
        "task_state": "failed",
        "event_type": "error",
        "is_final": True,
        "final": True,
        "run_id": str(run_id),
    }
    return _event("agent_default", reason, top=top, status=step_status, run_id=str(run_id), **why)


def cancelled(run_id: UUID, by: str) -> Payload:
    """The terminal event of a run that somebody cancelled. The wire has no word of its own for it."""
    return failed(run_id, f"The run was cancelled by {by}.", "cancelled", step_status="cancelled")


def stopped(run_id: UUID, reason: str) -> Payload:
    """The terminal event of a run that was cancelled with the rejection of one of its calls."""
    return failed(run_id, reason, "rejected_and_stopped", step_status="cancelled")

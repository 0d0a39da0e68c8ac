"""The wire contract of the published client, sections 3.4 to 3.7: a gated run as its client sees it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.live import Live
from tests.test_contract import UNKNOWN, is_error, moment, source

Json = dict[str, Any]


@pytest.fixture(scope="module")
def greeter(server: Live) -> Json:
    return server.upload(source("run_greeter"), name="run_greeter_form")


# 3.4 POST /agents/{id}/run, 3.5 the pending event, 3.6 the pending list


@dataclass
class Seen:
    """A gated run as its client sees it: each frame as it came, and the pending list at the announcement."""

    tool: Json
    agent_id: str
    headers: httpx.Headers
    frames: list[str] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    listed: list[Json] = field(default_factory=list)
    decided: httpx.Response | None = None

    @property
    def pending(self) -> list[Json]:
        return [event for event in self.events if event["metadata"].get("hitl", {}).get("decision") == "pending"]

    @property
    def asked(self) -> Json:
        return self.pending[0]["metadata"]


def frames_of(answer: httpx.Response) -> Iterator[str]:
    rest = b""
    for chunk in answer.iter_raw():
        rest += chunk
        while b"\n\n" in rest:
            frame, rest = rest.split(b"\n\n", 1)
            yield frame.decode("ascii")
    assert rest == b""


INPUT = "Tea\u2028for\u2029two\u0085in Zürich 茶"


@pytest.fixture(scope="module")
def seen(server: Live, greeter: Json) -> Seen:
    agent_id = server.create_agent(
        name="contract agent",
        tools=[greeter["id"]],
        agent_config={"hitl_enabled": True},
        tool_configs={greeter["id"]: {"hitl": {"timeout_seconds": 180}}},
    )
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}
    body = {"input": INPUT, "stream": True, "timeout": 86400, "agent_name": "x", "model": "y", "user_id": "z"}
    with server.client.stream("POST", f"/agents/{agent_id}/run", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        found = Seen(greeter, agent_id, answer.headers)
        for frame in frames_of(answer):
            found.frames.append(frame)
            data = [line[6:] for line in frame.splitlines() if line.startswith("data: ")]
            if data and data != ["[DONE]"]:
                found.events.append(json.loads(data[0]))
            if found.pending and not found.listed:
                found.listed = server.pending()
                found.decided = server.decide(found.asked["hitl"]["request_id"], "approved", "Looks good")
    return found


def test_3_4_3_the_stream_is_neither_cached_nor_buffered_nor_compressed(seen: Seen) -> None:
    assert seen.headers["Content-Type"] == "text/event-stream"
    assert seen.headers["Cache-Control"] == "no-cache"
    assert seen.headers["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in seen.headers


def test_3_4_3_each_event_is_one_data_line_with_one_json_object(seen: Seen) -> None:
    """Traps 3 and 4. Each frame was read as ASCII; a parser of JSON sees the text unharmed."""
    for frame in seen.frames:
        lines = [line for line in frame.splitlines() if not line.startswith((":", "id:", "event:"))]
        assert len(lines) <= 1
        assert all(line.startswith("data: ") for line in lines)
    assert all(isinstance(event, dict) for event in seen.events)
    assert INPUT in seen.events[-1]["content"]


def test_3_4_3_the_stream_says_done_and_is_closed(seen: Seen) -> None:
    """Trap 5. The reader came to the end of the body without a limit of its own."""
    assert seen.frames[0].startswith(":")
    assert seen.frames[-1] == "data: [DONE]"


def test_3_4_4_the_first_event_names_the_run_and_its_model(seen: Seen) -> None:
    """Trap 15."""
    first = seen.events[0]
    assert (first["status"], first["metadata"]["kind"]) == ("streaming_started", "run_info")
    assert first["run_id"] == first["metadata"]["run_id"] == seen.headers["X-Run-ID"]
    assert first["model"] == "rehearsal/default"
    assert UUID(first["run_id"]).version == 4


def test_3_4_4_no_event_has_a_null_where_the_client_reads_an_object(seen: Seen) -> None:
    """Trap 1."""
    for event in seen.events:
        assert isinstance(event["metadata"], dict)
        assert isinstance(event["content"], str)
        assert all(isinstance(event["metadata"].get(key, {}), dict) for key in ("hitl", "tool_info"))
        moment(event["timestamp"])


def test_3_4_4_steps_hang_together(seen: Seen) -> None:
    steps = [e["metadata"] for e in seen.events if e["metadata"]["kind"] in ("agent_step", "agent_thinking_step")]
    known = {step["step_id"] for step in steps}
    assert all(set(step["previous_step_ids"]) <= known for step in steps)
    assert steps[0]["agent_name"] == "contract agent"
    times = [step["time"] for step in steps]
    assert times == sorted(times)
    assert times[0] >= 0


def test_3_4_4_a_call_hangs_from_the_message_that_asked_for_it_and_that_from_the_root(seen: Seen) -> None:
    root, asks, pending, result = [e["metadata"] for e in seen.events if "step_id" in e["metadata"]]
    assert (root["previous_step_ids"], asks["previous_step_ids"]) == ([], [root["step_id"]])
    assert pending["previous_step_ids"] == result["previous_step_ids"] == [asks["step_id"]]
    assert pending["step_id"] == result["step_id"]
    # The client shows what names the agent below its root, and takes a message with one call for that call.
    assert {step["agent_name"] for step in (root, asks, pending, result)} == {"contract agent"}
    assert [step["status"] for step in (root, asks, pending, result)] == ["running", "running", "finished", "finished"]
    assert asks["tool_info"]["tool_calls"] == [
        {"id": result["tool_info"]["id"], "name": "run_greeter", "args": {"name": INPUT}}
    ]


def test_3_4_5_there_is_one_terminal_event_and_it_has_the_answer(seen: Seen) -> None:
    terminal = [event for event in seen.events if event.get("is_final") or event.get("final")]
    assert terminal == [seen.events[-1]]
    final = seen.events[-1]
    assert (final["is_final"], final["final"]) == (True, True)
    assert (final["status"], final["task_state"]) == ("success", "completed")
    assert (final["event_type"], final["metadata"]["kind"]) == ("final_response", "final_response")
    assert final["run_id"] == seen.headers["X-Run-ID"]
    assert final["content"]


def test_3_5_the_pending_event_is_announced_once_and_exactly_so(seen: Seen) -> None:
    """Traps 2 and 18."""
    (event,) = seen.pending
    metadata = event["metadata"]
    request_id = metadata["hitl"]["request_id"]
    content = (
        f"Awaiting human approval for request '{request_id}'. "
        "Invoke ApprovalManager.resolve_pending_request using this identifier to continue execution."
    )
    assert UUID(request_id).version == 4
    assert (event["status"], event["task_state"], event["content"]) == ("success", "working", content)
    assert (metadata["kind"], metadata["status"]) == ("agent_thinking_step", "finished")
    assert metadata["hitl"] == {
        "required": True,
        "decision": "pending",
        "request_id": request_id,
        "timeout_at": metadata["hitl"]["timeout_at"],
        "timeout_seconds": 180,
        "seal": metadata["hitl"]["seal"],
    }
    assert moment(metadata["hitl"]["timeout_at"]).utcoffset() == timedelta()
    assert metadata["tool_info"] == {
        "id": metadata["tool_info"]["id"],
        "name": "run_greeter",
        "args": {"name": INPUT},
        "output": content,
        "execution_time": None,
    }
    assert isinstance(metadata["tool_info"]["id"], str)


def test_3_5_the_result_event_carries_the_decision(seen: Seen) -> None:
    (result,) = [e for e in seen.events if e["metadata"].get("hitl", {}).get("decision") == "approved"]
    assert result["metadata"]["hitl"] == seen.asked["hitl"] | {"decision": "approved"}
    assert result["event_type"] == "tool_result"
    assert result["metadata"]["tool_info"]["output"] == result["content"] == f"Hello, {INPUT}!"
    assert result["metadata"]["tool_info"]["execution_time"] >= 0


def test_3_6_the_request_is_listed_before_it_is_announced(seen: Seen) -> None:
    """Trap 16; in a bare list, with exactly these fields: the contract's, and ours about seal, tool and round."""
    hitl = seen.asked["hitl"]
    (entry,) = [entry for entry in seen.listed if entry["request_id"] == hitl["request_id"]]
    agent = f"contract agent-{seen.agent_id[:8]}"
    arguments = {"name": INPUT}
    assert entry == {
        "request_id": hitl["request_id"],
        "tool": "run_greeter",
        "arguments": arguments,
        "created_at": entry["created_at"],
        "agent_id": agent,
        "run_id": seen.headers["X-Run-ID"],
        "seal": hitl["seal"],
        "destructive": False,
        "round": 1,
        "reason": "",
        "default_arguments": {"times": 1},
        "settings": {},
        "warning": "",
        "hitl_metadata": {key: hitl[key] for key in ("required", "decision", "timeout_at", "timeout_seconds")},
        "additional_context": {"tool_name": "run_greeter", "arguments": arguments, "agent_id": agent},
    }
    assert moment(entry["created_at"]) + timedelta(seconds=180) == moment(hitl["timeout_at"])


def test_3_6_a_decided_request_is_gone_at_once(server: Live, seen: Seen) -> None:
    assert seen.asked["hitl"]["request_id"] not in [entry["request_id"] for entry in server.pending()]


@pytest.mark.parametrize(
    ("enabled", "config"),
    [(False, {"hitl": {}}), (None, {"hitl": {}}), (True, "absent"), (True, None), (True, {}), (True, {"hitl": None})],
)
def test_3_5_a_call_runs_without_asking_where_nothing_asks_for_a_pause(
    server: Live, greeter: Json, enabled: bool | None, config: Json | str | None
) -> None:
    agent = server.create_agent(
        tools=[greeter["id"]],
        agent_config={} if enabled is None else {"hitl_enabled": enabled},
        tool_configs={} if config == "absent" else {greeter["id"]: config},
    )
    stream = server.run(agent, "Bob")
    assert stream.finish()["content"] == "run_greeter: Hello, Bob!"
    assert stream.pendings() == []


@pytest.mark.parametrize(("hitl", "seconds"), [({}, 300), ({"timeout_seconds": 60.5}, 60.5)])
def test_3_5_the_default_timeout_is_300_seconds_and_fractions_are_kept(
    server: Live, greeter: Json, hitl: Json, seconds: float
) -> None:
    config = {"agent_config": {"hitl_enabled": True}, "tool_configs": {greeter["id"]: {"hitl": hitl}}}
    stream = server.run(server.create_agent(tools=[greeter["id"]]), "go", runtime_config=config)
    (asked,) = stream.await_pending()
    assert asked["hitl"]["timeout_seconds"] == seconds
    (entry,) = [entry for entry in server.pending() if entry["request_id"] == asked["hitl"]["request_id"]]
    assert moment(entry["created_at"]) + timedelta(seconds=seconds) == moment(asked["hitl"]["timeout_at"])
    server.decide(entry["request_id"], "skipped")
    stream.finish()


def test_3_5_a_timeout_too_short_for_a_clock_is_a_timeout_all_the_same(server: Live, greeter: Json) -> None:
    config = {
        "agent_config": {"hitl_enabled": True},
        "tool_configs": {greeter["id"]: {"hitl": {"timeout_seconds": 1e-9}}},
    }
    stream = server.run(server.create_agent(tools=[greeter["id"]]), "go", runtime_config=config)
    assert stream.finish()["status"] == "success"
    request_id = stream.pendings()[0]["hitl"]["request_id"]
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == "timeout_skip"
    assert "ran out of time" in is_error(server.decide(request_id, "approved"), 409)


# 3.7 POST /agents/hitl/decision


def test_3_7_the_answer_is_a_bare_object_that_says_ok(seen: Seen) -> None:
    assert seen.decided is not None
    assert seen.decided.status_code == 200
    assert seen.decided.json() == {
        "status": "ok",
        "message": "The request was approved.",
        # Ours: what will run.
        "request_id": seen.asked["hitl"]["request_id"],
        "decision": "approved",
        "arguments": {"name": INPUT},
        "answer": None,
        "seal": seen.asked["hitl"]["seal"],
    }


@pytest.mark.parametrize("word", ["approved", "rejected"])
def test_3_7_a_second_decision_is_409_and_changes_nothing(server: Live, seen: Seen, word: str) -> None:
    request_id = seen.asked["hitl"]["request_id"]
    assert "already approved" in is_error(server.decide(request_id, word), 409)
    assert server.rows("SELECT operator_input FROM hitl_decision WHERE request_id = %s", request_id) == [
        ("Looks good",)
    ]


@pytest.mark.parametrize("request_id", [UNKNOWN, "7e57ab1e-0000-4000-8000-000000000000", "no-uuid"])
def test_3_7_an_unknown_request_is_404(server: Live, request_id: str) -> None:
    assert request_id in is_error(server.decide(request_id, "approved"), 404)

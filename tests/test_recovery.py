"""Workers are killed, stopped and cut off: nothing is lost, nothing runs twice, and who lost a run changes nothing."""

import itertools
import json
import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.listener import Listener
from tests.live import TOOLS, Live, Stream, eventually

CALLS = {"a": "approved", "b": "rejected", "c": "skipped"}
ORDERS = ["".join(order) for order in itertools.permutations(CALLS)]


@pytest.fixture(scope="module")
def tools(fragile: Live) -> dict[str, str]:
    """Reporters, which the model calls by these names."""
    source = (TOOLS / "reporter.py").read_bytes()
    return {name: fragile.upload(source.replace(b'"reporter"', f'"{name}"'.encode()))["id"] for name in "abc"}


def make_agent(server: Live, world: Listener, *tools: str, agent_config: Any = None, **settings: Any) -> str:
    return server.create_agent(
        tools=list(tools),
        agent_config={"hitl_enabled": True, **(agent_config or {})},
        tool_configs={tool: {"hitl": {"timeout_seconds": 120}, "listener": world.url, **settings} for tool in tools},
    )


def asked(server: Live, stream: Stream, number: int = 1) -> dict[str, str]:
    """The requests that the stream announced, by the names of the tools."""
    return {p["tool_info"]["name"]: p["hitl"]["request_id"] for p in stream.await_pending(number)}


def new_text() -> str:
    return f"say {uuid.uuid4()}"


def started(server: Live, request_id: str) -> bool:
    rows = server.rows("SELECT execution FROM hitl_approvalrequest WHERE id = %s", request_id)
    return rows == [("started",)]


def test_calls_that_waited_when_their_worker_was_killed_are_decided_in_every_order(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    agent = make_agent(fragile, world, *tools.values())
    streams = {order: fragile.run(agent, new_text()) for order in ORDERS}
    requests = {order: asked(fragile, stream, 3) for order, stream in streams.items()}
    for step in range(3):
        for order, ids in requests.items():
            assert fragile.decide(ids[order[step]], CALLS[order[step]]).status_code == 200
        if step == 1:  # the first kill meets calls that are just decided, the second one parked runs
            decided = [ids[order[n]] for order, ids in requests.items() for n in (0, 1)]
            eventually(lambda d=decided: settled(fragile, d), 40)
        if step < 2:
            fragile.kill("celery")
    for order, stream in streams.items():
        # A kill may have met an approved call between its start and its result: that one is asked about again.
        eventually(lambda s=stream, o=order: s.done or again(fragile, s, requests[o]["a"]), 40)
        assert stream.finish(40)["status"] == "success"
        for name, word in CALLS.items():
            decided = [e for e in stream.events if of_request(e, requests[order][name])]
            assert [e["metadata"]["hitl"]["decision"] for e in decided] == ["pending", word]
        text = fragile.rows("SELECT input FROM agents_run WHERE id = %s", stream.run_id)[0][0]
        rounds = fragile.rows("SELECT count(*) FROM hitl_approvalrequest WHERE run_id = %s", stream.run_id)[0][0]
        heard = [report["tool"] for report in world.heard if report["text"] == text]
        assert set(heard) == {"a"}
        assert len(heard) <= rounds - 2


def settled(server: Live, ids: list[str]) -> bool:
    left = "SELECT count(*) FROM hitl_approvalrequest WHERE id::text = ANY(%s) AND settled_at IS NULL"
    return server.rows(left, ids) == [(0,)]


def of_request(event: dict[str, Any], request_id: str) -> bool:
    return event["metadata"].get("hitl", {}).get("request_id") == request_id


def again(server: Live, stream: Stream, request_id: str) -> bool:
    """Approve a second round, when there is one."""
    for pending in stream.pendings():
        if pending["hitl"].get("round", 1) > 1 and pending["hitl"]["request_id"] != request_id:
            server.decide(pending["hitl"]["request_id"], "approved")
    return False


def test_a_call_whose_worker_was_killed_while_it_ran_is_asked_about_again(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    agent, text = make_agent(fragile, world, tools["a"]), new_text()
    stream = fragile.run(agent, text)
    first = asked(fragile, stream)["a"]
    world.delays[text, "a"] = 30
    fragile.decide(first, "approved")
    eventually(lambda: world.count(text) == 1)
    fragile.kill("celery")
    world.delays.clear()
    second = stream.await_pending(2)[1]
    assert second["hitl"]["round"] == 2
    assert "its outcome is unknown" in second["hitl"]["reason"]
    (listed,) = [r for r in fragile.pending() if r["run_id"] == stream.run_id]
    assert listed["reason"].startswith("An earlier attempt began at ")
    assert world.count(text) == 1
    fragile.decide(second["hitl"]["request_id"], "approved")
    assert stream.finish()["status"] == "success"
    assert world.count(text) == 2
    executions = "SELECT round, execution FROM hitl_approvalrequest WHERE run_id = %s ORDER BY round"
    assert fragile.rows(executions, stream.run_id) == [(1, "unknown"), (2, "finished")]


def test_a_nested_call_whose_worker_was_killed_is_decided_and_nothing_finished_is_done_again(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    """Killed while it waits beside a finished one, then while it runs: that alone is asked about again."""
    worker = make_agent(fragile, world, tools["a"], tools["b"])
    leader, text = fragile.create_agent(name="leader", agents=[worker]), new_text()
    stream = fragile.run(leader, text)
    requests = asked(fragile, stream, 2)
    assert {r["agent_id"] for r in fragile.pending() if r["run_id"] == stream.run_id} == {f"agent-{worker[:8]}"}
    fragile.decide(requests["b"], "approved")
    eventually(lambda: settled(fragile, [requests["b"]]))
    fragile.kill("celery")
    world.delays[text, "a"] = 30
    fragile.decide(requests["a"], "approved")
    eventually(lambda: world.count(text) == 2, 40)
    fragile.kill("celery")
    world.delays.clear()
    again = stream.await_pending(3, 40)[2]
    assert (again["agent_name"], again["is_sub_agent_event"]) == ("agent", True)
    assert "its outcome is unknown" in again["hitl"]["reason"]
    fragile.decide(again["hitl"]["request_id"], "approved")
    assert stream.finish(40)["status"] == "success"
    assert [report["tool"] for report in world.heard if report["text"] == text] == ["b", "a", "a"]
    # Each model was asked once for calls: what it said before the kills stood.
    called = "SELECT count(*) FROM agents_runevent WHERE run_id = %s AND key LIKE 'calls:%%'"
    assert fragile.rows(called, stream.run_id) == [(2,)]


def everything(server: Live, run_ids: list[str]) -> str:
    """All that stands about these runs, as one text."""
    parts = []
    for table, key in [
        ("agents_run", "id"),
        ("agents_runevent", "run_id"),
        ("hitl_approvalrequest", "run_id"),
        ("checkpoints", "thread_id"),
        ("checkpoint_blobs", "thread_id"),
        ("checkpoint_writes", "thread_id"),
    ]:
        sql = f"SELECT to_jsonb(t) FROM {table} t WHERE {key}::text = ANY(%s) ORDER BY to_jsonb(t)::text"
        parts.append([row[0] for row in server.rows(sql, run_ids)])
    return json.dumps(parts, sort_keys=True)


def test_a_worker_that_sleeps_past_its_lease_changes_nothing_when_it_wakes_up(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    """One of its runs waits, and one runs its tool."""
    agent = make_agent(fragile, world, tools["a"])
    with fragile.another_worker(HITL_HOLD_SECONDS="60") as sleeper:
        streams = [fragile.run(agent, new_text()) for _ in range(8)]
        requests = {stream.run_id: asked(fragile, stream)["a"] for stream in streams}
        held = "SELECT id::text, input FROM agents_run WHERE holder LIKE %s AND status = 'running'"
        waiting, running = fragile.rows(held, f"%:{sleeper.pid}:%")[:2]
        world.delays[running[1], "a"] = 4
        assert fragile.decide(requests[running[0]], "approved").status_code == 200
        eventually(lambda: world.count(running[1]) == 1)
        sleeper.suspend()
        # They are finished elsewhere: the one that waited as is decided, the one that ran is asked about again.
        streams = {stream.run_id: stream for stream in streams}
        again = streams[running[0]].await_pending(2)[1]["hitl"]["request_id"]
        assert fragile.decide(requests[waiting[0]], "approved").status_code == 200
        assert fragile.decide(again, "rejected").status_code == 200
        assert [streams[run_id].finish()["status"] for run_id, _ in (waiting, running)] == ["success", "success"]
        for run_id in requests.keys() - {waiting[0], running[0]}:
            fragile.decide(requests[run_id], "skipped")
            streams[run_id].finish()
        before = everything(fragile, list(requests))
        sleeper.resume()
        beat = "SELECT 1 FROM agents_heartbeat WHERE name LIKE %s AND beat_at > now() - interval '1 s'"
        eventually(lambda: fragile.rows(beat, f"%:{sleeper.pid}:%"))
        # Until the calls that it carried have come to their end: the helper has no tool left.
        eventually(lambda: not any_tool_runs(sleeper))
    # It was stopped, and waited for every thread before it went.
    assert everything(fragile, list(requests)) == before
    assert [world.count(text) for _, text in (waiting, running)] == [1, 1]
    world.delays.clear()


def test_a_run_is_cancelled_while_it_waits_and_while_its_tool_runs(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    agent = make_agent(fragile, world, tools["a"])
    texts = {"held": new_text(), "parked": new_text(), "running": new_text()}
    streams = {"parked": fragile.run(agent, texts["parked"])}
    streams["parked"].await_pending()
    eventually(lambda: fragile.status(streams["parked"].run_id) == "waiting")
    streams |= {name: fragile.run(agent, texts[name]) for name in ("running", "held")}
    requests = {name: asked(fragile, stream)["a"] for name, stream in streams.items()}
    world.delays[texts["running"], "a"] = 60
    fragile.decide(requests["running"], "approved")
    eventually(lambda: world.count(texts["running"]) == 1)
    began = time.monotonic()
    for name, stream in streams.items():
        path = f"/agents/{agent}/runs/{stream.run_id}/cancel"
        answer = fragile.client.post(path)
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled"), name
        final = stream.finish(5)
        assert (final["content"], final["task_state"]) == ("The run was cancelled by master.", "failed")
        for said in (final, final["metadata"]):
            assert (said["error_code"], said["category"]) == ("cancelled", "cancelled")
        assert "cancelled at" in fragile.client.post(path).json()["message"]
        assert fragile.client.post(path).status_code == 409
    assert time.monotonic() - began < 5
    assert fragile.decide(requests["held"], "approved").status_code == 409
    # The tool's processes are ended, all of them.
    worker = fragile.child("celery")
    eventually(lambda: not any_tool_runs(worker), 5)
    assert (world.count(texts["held"]), world.count(texts["parked"])) == (0, 0)
    statuses = "SELECT status, settled_at IS NULL FROM hitl_approvalrequest WHERE id::text = ANY(%s) ORDER BY 1"
    assert fragile.rows(statuses, list(requests.values())) == [
        ("approved", False),
        ("cancelled", False),
        ("cancelled", False),
    ]
    assert fragile.rows("SELECT 1 FROM checkpoints WHERE thread_id = %s", streams["parked"].run_id) == []
    world.delays.clear()


def any_tool_runs(worker: psutil.Process) -> bool:
    """Below the worker: the helper; below that keepers, each with a tool, which begins with a session of its own."""
    (helper,) = worker.children()
    return any(is_leader(process.pid) for process in helper.children(recursive=True))


def is_leader(pid: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getsid(pid) == pid
    return False


def test_a_run_fails_at_its_own_limit_whether_it_waits_or_runs(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    limit = {"timeout_seconds": 3}
    agent, text = make_agent(fragile, world, tools["a"], agent_config=limit), new_text()
    waiting, running = fragile.run(agent, new_text()), fragile.run(agent, text)
    world.delays[text, "a"] = 60
    fragile.decide(asked(fragile, running)["a"], "approved")
    began = time.monotonic()
    for stream in (waiting, running):
        final = stream.finish(10)
        assert final["task_state"] == "failed"
        assert final["content"].startswith("The run took longer than its limit of 3 s,")
        assert (final["error_code"], final["category"]) == ("time_limit_exceeded", "limit")
    assert time.monotonic() - began < 6
    decided = (
        "SELECT d.decision, d.operator_input FROM hitl_decision d JOIN hitl_approvalrequest r ON r.id = request_id"
    )
    assert fragile.rows(f"{decided} WHERE run_id = %s", waiting.run_id) == [("timeout_skip", "TIMEOUT of the run")]
    worker = fragile.child("celery")
    eventually(lambda: not any_tool_runs(worker), 5)
    world.delays.clear()


def test_deadlines_are_kept_while_no_worker_lives_and_redis_is_silent(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    agent = make_agent(fragile, world, tools["a"], hitl={"timeout_seconds": 3})
    stream = fragile.run(agent, new_text())
    request_id = asked(fragile, stream)["a"]
    fragile.process.send_signal(signal.SIGSTOP)
    silent = [fragile.child("celery"), fragile.child("valkey-server")]
    for process in silent:
        process.suspend()
    try:
        late = "SELECT closed_at - timeout_at FROM hitl_approvalrequest WHERE id = %s AND status = 'timeout_skip'"
        ((by,),) = eventually(lambda: fragile.rows(late, request_id), 7)
        assert by.total_seconds() < 3
    finally:
        for process in silent:
            process.resume()
        fragile.process.send_signal(signal.SIGCONT)
    assert stream.finish(40)["status"] == "success"
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == "timeout_skip"


def test_a_stopped_worker_hands_its_runs_on_and_its_wrong_clock_changes_nothing(
    fragile: Live, tools: dict[str, str], world: Listener, tmp_path: Path
) -> None:
    # Python runs this at its start, before anything of ours.
    (tmp_path / "sitecustomize.py").write_text("import time\nright = time.time\ntime.time = lambda: right() + 86_400\n")
    agent, text = make_agent(fragile, world, tools["a"]), new_text()
    with fragile.another_worker(HITL_HOLD_SECONDS="60", PYTHONPATH=str(tmp_path)):
        streams = [fragile.run(agent, text) for _ in range(6)]
        for stream in streams:
            stream.await_pending()
    # It was asked to stop and is gone: nothing waited for it, and nothing is lost.
    for stream in streams:
        (pending,) = stream.pendings()
        assert fragile.decide(pending["hitl"]["request_id"], "approved").status_code == 200
    assert [stream.finish()["status"] for stream in streams] == ["success"] * 6
    assert world.count(text) == 6


def test_an_edit_that_is_approved_while_its_worker_dies_is_what_runs(
    fragile: Live, tools: dict[str, str], world: Listener
) -> None:
    agent, text = make_agent(fragile, world, tools["a"]), new_text()
    stream = fragile.run(agent, text)
    request_id = asked(fragile, stream)["a"]
    fragile.kill("celery")
    body = {"request_id": request_id, "decision": "approved", "arguments": {"text": f"{text}, edited"}}
    assert fragile.client.post("/agents/hitl/decision", json=body).status_code == 200
    fragile.kill("celery")
    assert "The operator changed the arguments" in stream.finish(60)["content"]
    assert (world.count(text), world.count(f"{text}, edited")) == (0, 1)
    assert stream.result(request_id)["metadata"]["tool_info"]["args"] == {"text": f"{text}, edited"}

"""Streams: what they cost, what keeps them alive, and what a client loses by going away (nothing)."""

import json
import threading
from typing import Any

import pytest
import redis

from aip.launcher import embedded
from tests.chaos.parked import many_parked
from tests.conftest import in_threads
from tests.listener import Listener
from tests.live import TOOLS, Live, Stream, eventually

STREAMS = 100
REPORTER = (TOOLS / "reporter.py").read_bytes()


@pytest.fixture(scope="module")
def agent(server: Live, reporter: dict[str, Any], world: Listener) -> str:
    return server.create_agent(
        tools=[reporter["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={reporter["id"]: {"hitl": {"timeout_seconds": 600}, "listener": world.url}},
    )


def test_a_hundred_parked_runs_with_their_streams_open_cost_nothing_but_sockets(server: Live, agent: str) -> None:
    """No thread, no connection, no key. `python -m tests.chaos parked` shows it for 2,000 with 500 streams."""
    many_parked(server, agent, runs=STREAMS, streams=STREAMS)


def test_a_client_that_goes_away_loses_nothing(server: Live, agent: str, world: Listener) -> None:
    with server.client.stream("POST", f"/agents/{agent}/run", json={"input": "gone away"}) as answer:
        run_id = answer.headers["X-Run-ID"]
        for line in answer.iter_lines():
            if '"decision": "pending"' in line:
                break
    (request,) = [r for r in server.pending() if r["run_id"] == run_id]
    assert server.decide(request["request_id"], "approved").status_code == 200
    eventually(lambda: world.count("gone away") == 1)
    status = "SELECT status FROM agents_run WHERE id = %s"
    eventually(lambda: server.rows(status, run_id) == [("succeeded",)])
    kinds = server.rows(
        "SELECT payload->'metadata'->>'kind' FROM agents_runevent WHERE run_id = %s ORDER BY seq", run_id
    )
    assert kinds[-1] == ("final_response",)


def test_clients_that_go_away_at_once_leave_no_subscription_behind(server: Live, agent: str) -> None:
    valkey = redis.Redis.from_url(embedded.redis_url(server.data_dir))

    def open_and_leave(_: int) -> None:
        with server.client.stream("POST", f"/agents/{agent}/run", json={"input": "Answer nobody"}) as answer:
            assert answer.status_code == 200

    server.run(agent, "Answer somebody").finish()
    before = set(valkey.pubsub_channels())
    assert before  # one stays, so that the reader of all is awake
    in_threads(60, open_and_leave)
    eventually(lambda: set(valkey.pubsub_channels()) <= before)


def test_a_stream_is_framed_as_the_contract_says(server: Live, agent: str) -> None:
    stream = server.run(agent, "Answer with \u2028 and \x85 and \U0001f600")
    final = stream.finish()
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.lines[0] == ": open"
    assert all(line.isascii() for line in stream.lines)
    assert [json.loads(line[4:]) for line in stream.lines if line.startswith("id:")] == [1, 2, 3]
    assert "\u2028 and \x85 and \U0001f600" in final["content"]
    assert [event.get("is_final", False) for event in stream.events] == [False, False, True]


def data(stream: Stream) -> list[tuple[int, Any]]:
    return list(zip(stream.ids, stream.events, strict=True))


def read_one(server: Live, agent: str, run_id: str, after: int) -> tuple[int, Any] | None:
    """Join after an event, read the next one and go away; None at the end of the stream."""
    path = f"/agents/{agent}/runs/{run_id}/stream"
    with server.client.stream("GET", path, headers={"Last-Event-ID": str(after)}, timeout=30) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        seq = 0
        for line in answer.iter_lines():
            if line.startswith("id: "):
                seq = int(line[4:])
            elif line == "data: [DONE]":
                return None
            elif line.startswith("data: "):
                return seq, json.loads(line[6:])
    raise AssertionError("the stream ended without its end")


def test_a_stream_cut_at_every_event_is_the_same_as_an_uncut_one(server: Live, world: Listener) -> None:
    """While the run goes on, its two gated calls reporting at the same moment, and when it is over."""
    tools = [server.upload(REPORTER.replace(b'"reporter"', f'"cut_{i}"'.encode()))["id"] for i in range(2)]
    agent = server.create_agent(
        tools=tools,
        agent_config={"hitl_enabled": True},
        tool_configs={tool: {"hitl": {}, "listener": world.url} for tool in tools},
    )
    uncut = server.run(agent, "cut here")
    pieces: list[tuple[int, Any]] = []

    def cut_and_join() -> None:
        after = 0
        while piece := read_one(server, agent, uncut.run_id, after):
            pieces.append(piece)
            after = piece[0]

    cutting = threading.Thread(target=cut_and_join, daemon=True)
    cutting.start()
    ids = [pending["hitl"]["request_id"] for pending in uncut.await_pending(2)]
    answers = in_threads(2, lambda i: server.decide(ids[i], "approved").status_code)
    assert answers == [200, 200]
    uncut.finish()
    cutting.join(30)
    assert pieces == data(uncut)
    assert [seq for seq, _ in pieces] == list(range(1, len(pieces) + 1))
    for after in range(len(pieces) + 1):
        joined = server.join(agent, uncut.run_id, after)
        joined.ended(10)
        assert joined.done
        assert data(joined) == pieces[after:]


def test_streams_that_end_at_the_same_moment_are_all_closed(server: Live, agent: str) -> None:
    run = server.run(agent, "Answer")
    run.finish()
    for _ in range(20):
        joined = in_threads(8, lambda i: server.join(agent, run.run_id, i % 4))
        for stream in joined:
            stream.ended(10)
            assert stream.done


def test_ten_thousand_events_replay_in_order_and_go_on(server: Live, agent: str) -> None:
    stream = server.run(agent, "a long story")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    server.write(
        "INSERT INTO agents_runevent (run_id, seq, key, payload, created_at)"
        """ SELECT run_id, seq + n, 'more' || n, '{"content": "more", "metadata": {"kind": "status_update"}}', now()"""
        " FROM generate_series(1, 10000) n, (SELECT run_id, max(seq) AS seq FROM agents_runevent"
        " WHERE run_id = %s GROUP BY run_id) last",
        stream.run_id,
    )
    joined = server.join(agent, stream.run_id, 0)
    assert server.decide(request_id, "skipped").status_code == 200
    assert joined.finish()["status"] == "success"
    assert len(joined.ids) > 10_000
    assert joined.ids == list(range(1, len(joined.ids) + 1))


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "99999999999", "\u00b2"])
def test_an_event_id_that_is_none_is_refused(server: Live, agent: str, after: str) -> None:
    run = server.run(agent, "Answer")
    run.finish()
    answer = server.client.get(f"/agents/{agent}/runs/{run.run_id}/stream", params={"after": after})
    assert answer.status_code == 400
    assert "0 for the beginning" in answer.json()["message"]


def test_a_run_is_found_under_its_own_agent_alone(server: Live, agent: str) -> None:
    run = server.run(agent, "Answer")
    run.finish()
    other = server.create_agent()
    for path in (f"{other}/runs/{run.run_id}/stream", f"{agent}/runs/x/stream", f"x/runs/{run.run_id}/stream"):
        answer = server.client.get(f"/agents/{path}")
        assert answer.status_code == 404
        assert "has no run with the id" in answer.json()["message"]
    assert server.client.post(f"/agents/{other}/runs/{run.run_id}/cancel").status_code == 404

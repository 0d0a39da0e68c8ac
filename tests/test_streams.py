"""Streams: what they cost, what keeps them alive, and what a client loses by going away (nothing)."""

import asyncio
import json
from typing import Any

import httpx
import psutil
import pytest

from tests.listener import Listener
from tests.live import Live, eventually

STREAMS = 300


@pytest.fixture(scope="module")
def agent(server: Live, reporter: dict[str, Any], world: Listener) -> str:
    return server.create_agent(
        tools=[reporter["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={reporter["id"]: {"hitl": {"timeout_seconds": 180}, "listener": world.url}},
    )


def web_process(server: Live) -> psutil.Process:
    children = psutil.Process(server.process.pid).children()
    (web,) = [child for child in children if "daphne" in child.cmdline()]
    return web


class Opened:
    """One of many streams, read by the event loop."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def read(self, client: httpx.AsyncClient, agent: str) -> None:
        async with client.stream("POST", f"/agents/{agent}/run", json={"input": "many"}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                self.lines.append(line)


async def until(fact: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.1)


async def open_many(server: Live, agent: str) -> None:
    web = web_process(server)
    before = web.num_threads()
    limits = httpx.Limits(max_connections=STREAMS + 10, max_keepalive_connections=0)
    headers = {"X-API-Key": server.key}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=90) as client:
        streams = [Opened() for _ in range(STREAMS)]
        tasks = [asyncio.create_task(stream.read(client, agent)) for stream in streams]
        await until(lambda: all(any(line.startswith("data:") for line in s.lines) for s in streams), 60)
        await until(lambda: all(": keep-alive" in stream.lines for stream in streams), 40)
        assert web.num_threads() <= before + 10
        while not all(task.done() for task in tasks):
            for request in (await client.get("/agents/hitl/pending")).json():
                body = {"request_id": request["request_id"], "decision": "skipped"}
                await client.post("/agents/hitl/decision", json=body)
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        assert all(stream.lines[-2] == "data: [DONE]" for stream in streams)
        assert web.num_threads() <= before + 10


def test_three_hundred_open_streams_cost_no_threads_and_are_kept_alive(server: Live, agent: str) -> None:
    # Once before: the threads that every web process has sooner or later are not the streams' doing.
    first = server.run(agent, "warm up")
    server.decide(first.await_pending()[0]["hitl"]["request_id"], "skipped")
    first.finish()
    asyncio.run(asyncio.wait_for(open_many(server, agent), 170))


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

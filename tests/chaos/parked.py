"""Many parked runs, some with their streams open: what they cost, counted over the whole system."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import psutil
import redis

from aip.launcher import embedded
from tests.live import Live, eventually

# The pools of the processes have a fixed size, and may not be full yet when the first count is taken.
FILLING = 4
ENDED = "('succeeded', 'failed', 'cancelled')"


def cost(server: Live) -> dict[str, int]:
    """Threads of all processes but PostgreSQL's, connections that PostgreSQL serves, keys in Redis."""
    threads = 0
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            threads += 0 if "postgres" in process.name() else process.num_threads()
    # But for the one that asks.
    backends = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    ((connections,),) = server.rows(backends)
    keys = redis.Redis.from_url(embedded.redis_url(server.data_dir)).dbsize()
    return {"threads": threads, "connections": connections, "keys": keys}


class Opened:
    """One of many streams, read by the event loop."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def read(self, client: httpx.AsyncClient, agent: str, begun: asyncio.Semaphore) -> None:
        await begun.acquire()
        async with client.stream("POST", f"/agents/{agent}/run", json={"input": "many"}) as answer:
            begun.release()
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                self.lines.append(line)


async def until(fact: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(fact):
            await asyncio.sleep(0.2)


async def park(server: Live, agent: str, *, runs: int, streams: int, before: dict[str, int] | None = None) -> None:
    """Start `runs`, keep the streams of some open, and end them all; `before` is what nothing may exceed meanwhile."""
    limits = httpx.Limits(max_connections=streams + 50, max_keepalive_connections=0)
    headers = {"X-API-Key": server.key}
    waiting = "SELECT count(*) FROM agents_run WHERE agent_id = %s AND status = 'waiting'"
    async with httpx.AsyncClient(base_url=server.url, headers=headers, limits=limits, timeout=180) as client:
        begun = asyncio.Semaphore(20)
        opened = [Opened() for _ in range(streams)]
        tasks = [asyncio.create_task(stream.read(client, agent, begun)) for stream in opened]
        for _ in range(runs - streams):
            async with client.stream("POST", f"/agents/{agent}/run", json={"input": "many"}) as answer:
                assert answer.status_code == 200
        await until(lambda: server.rows(waiting, agent) == [(runs,)], 60 + runs / 5)
        if before is not None:
            await until(lambda: sum(": keep-alive" in stream.lines for stream in opened) >= streams / 3, 40)
            await until(lambda: all(cost(server)[what] <= most for what, most in before.items()), 60)
        await cancel_all(server, client, agent)
        left = f"SELECT count(*) FROM agents_run WHERE agent_id = %s AND status NOT IN {ENDED}"
        await until(lambda: server.rows(left, agent) == [(0,)], 60 + runs / 5)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        assert all(stream.lines[-2] == "data: [DONE]" for stream in opened)


async def cancel_all(server: Live, client: httpx.AsyncClient, agent: str) -> None:
    living = f"SELECT id::text FROM agents_run WHERE agent_id = %s AND status NOT IN {ENDED}"
    for (run_id,) in await asyncio.to_thread(server.rows, living, agent):
        assert (await client.post(f"/agents/{agent}/runs/{run_id}/cancel")).status_code == 200


def many_parked(server: Live, agent: str, *, runs: int, streams: int) -> dict[str, int]:
    """What the system cost before; asserts that it costs no more with `runs` parked and `streams` open."""
    # Once before, with fewer: what every process has after its first work is not the parked runs' doing.
    asyncio.run(asyncio.wait_for(park(server, agent, runs=40, streams=40), 100))
    # The keys of their decisions ring for nobody, and go by themselves.
    client = redis.Redis.from_url(embedded.redis_url(server.data_dir))
    eventually(lambda: not any(client.scan_iter("hitl:closed:*")), 70)
    before = cost(server)
    before["threads"] += FILLING
    asyncio.run(park(server, agent, runs=runs, streams=streams, before=before))
    return before

"""What a restart of the servers beneath must not lose."""

import asyncio
import os
import signal
import threading
import time
import uuid

import httpx
import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from aip.launcher import embedded
from bench.seen import log_in
from tests.conftest import in_threads
from tests.listener import Listener
from tests.live import Live, eventually, killed

# Longer than the lease of the server that is hurt here. Half a minute, by hand, shows the same.
AWAY_SECONDS = float(os.environ.get("AIP_TEST_AWAY_SECONDS", "6"))


@pytest.fixture(scope="module")
def server(fragile: Live) -> Live:
    return fragile


@pytest.fixture(scope="module")
def agent(server: Live, world: Listener) -> str:
    tool = server.upload("reporter.py", name="reporter of failures")
    return server.create_agent(
        tools=[tool["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={tool["id"]: {"hitl": {"timeout_seconds": 120}, "listener": world.url}},
    )


def approve(server: Live, request_id: str) -> bool:
    """Approve, or meet a clear 503 that changed nothing."""
    answer = server.decide(request_id, "approved")
    assert answer.status_code in (200, 503), answer.text
    assert answer.json().get("message")
    return answer.status_code == 200


async def ring(server: Live, run_id: str) -> None:
    layer = RedisPubSubChannelLayer(hosts=[embedded.redis_url(server.data_dir)], prefix="aip")
    await layer.group_send(f"run.{run_id}", {"type": "run.changed"})
    await layer.flush()


class Before:
    """Three runs as a failure meets them: one waits and is held, one is parked, one runs its tool for `seconds`."""

    def __init__(self, server: Live, agent: str, world: Listener, seconds: float) -> None:
        names = ("parked", "running", "held")
        self.texts = {name: f"{name} {uuid.uuid4()}" for name in names}
        world.delays[self.texts["running"], "reporter"] = seconds
        self.streams = {}
        for name in names:
            self.streams[name] = server.run(agent, self.texts[name])
            self.streams[name].await_pending()
            if name == "parked":
                eventually(lambda: server.status(self.streams["parked"].run_id) == "waiting")
            if name == "running":
                assert server.decide(self.ids[name], "approved").status_code == 200
                eventually(lambda: world.count(self.texts["running"]) == 1)

    @property
    def ids(self) -> dict[str, str]:
        """The requests."""
        return {name: stream.pendings()[0]["hitl"]["request_id"] for name, stream in self.streams.items()}

    def each_ran_once(self, world: Listener) -> None:
        for name, stream in self.streams.items():
            assert stream.finish(60)["status"] == "success", name
            assert len(stream.pendings()) == 1, name
            assert world.count(self.texts[name]) == 1, name


def processes(server: Live, *names: str) -> list[int]:
    return [server.child(name).pid for name in names]


def test_postgresql_is_away_and_everything_goes_on_when_it_is_back(server: Live, agent: str, world: Listener) -> None:
    """For longer than the lease: the heartbeats are late for all then, and no run changes hands for it."""
    ours = processes(server, "celery", "daphne", "sweep")
    before = Before(server, agent, world, AWAY_SECONDS)
    back_at = time.monotonic() + AWAY_SECONDS
    with killed(server, "postgres"):
        asyncio.run(ring(server, before.streams["held"].run_id))  # the open stream has to read, and cannot
        asked = [
            ("POST", "/agents/hitl/decision", {"request_id": before.ids["held"], "decision": "approved"}),
            ("POST", f"/agents/{agent}/run", {"input": "x"}),
            ("POST", f"/agents/{agent}/runs/{before.streams['held'].run_id}/cancel", None),
            # Pages, whose session has to be read.
            ("GET", "/admin/inbox/", None),
            ("GET", "/admin/agents/run/", None),
            ("GET", f"/agents/{agent}", None),
            ("GET", f"/agents/{agent}/runs/{before.streams['held'].run_id}/stream", None),
        ]

        def ask(i: int) -> httpx.Response:
            method, path, body = asked[i]
            return server.client.request(method, path, json=body, headers={"Cookie": f"sessionid={'x' * 32}"})

        for refused in in_threads(len(asked), ask):
            assert refused.status_code == 503
            assert "Nothing was changed" in refused.text
            is_page, is_read = refused.url.path.startswith("/admin/"), refused.request.method == "GET"
            assert ("<h1>Please try again</h1>" in refused.text) == is_page
            assert refused.headers.get("Retry-After") == ("2" if is_read else None)
            assert is_page or (refused.json()["category"], refused.json()["retryable"]) == ("unavailable", True)
        eventually(lambda: ": waiting" in before.streams["held"].lines)
        time.sleep(max(0.0, back_at - time.monotonic()))
    for name in ("held", "parked"):
        eventually(lambda name=name: approve(server, before.ids[name]), 40)
    before.each_ran_once(world)
    assert processes(server, "celery", "daphne", "sweep") == ours


def test_redis_is_away_and_everything_ends_as_decided(server: Live, agent: str, world: Listener) -> None:
    ours = processes(server, "celery", "daphne", "sweep")
    log, browser = server.data_dir.with_suffix(".log"), log_in(server)
    address = f"{server.url.replace('http', 'ws', 1)}/admin/inbox/socket"
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = {"Cookie": cookies, "Origin": server.url}
    before = Before(server, agent, world, AWAY_SECONDS / 2)
    said = len(log.read_text())
    with connect(address, additional_headers=headers), killed(server, "valkey-server"):
        began = time.monotonic()
        for name in ("held", "parked"):
            assert server.decide(before.ids[name], "approved").status_code == 200
        meanwhile = server.run(agent, "Answer while Redis is away")
        assert time.monotonic() - began < 20
        # What is held needs no Redis to go on; what is parked waits for the queue.
        eventually(lambda: world.count(before.texts["held"]) == 1)
        with pytest.raises(InvalidStatus):
            connect(address, additional_headers=headers)
        time.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))
        assert "Traceback" not in log.read_text()[said:]
        for words in ("Nobody was woken", "the sweep queues run", "A console cannot listen now"):
            assert words in log.read_text()[said:]
    before.each_ran_once(world)
    assert meanwhile.finish(60)["status"] == "success"
    assert processes(server, "celery", "daphne", "sweep") == ours


def test_redis_is_wiped_between_a_decision_and_its_effect(server: Live, agent: str, world: Listener) -> None:
    before = Before(server, agent, world, 1)
    client = redis.Redis.from_url(embedded.redis_url(server.data_dir))
    wiping = threading.Event()

    def wipe() -> None:
        while not wiping.wait(0.001):
            client.flushall()

    thread = threading.Thread(target=wipe, daemon=True)
    thread.start()
    try:
        for name in ("held", "parked"):
            assert server.decide(before.ids[name], "approved").status_code == 200
    finally:
        wiping.set()
        thread.join(10)
    before.each_ran_once(world)


def test_a_silent_redis_does_not_hold_an_approved_call(server: Live, agent: str, world: Listener) -> None:
    stream = server.run(agent, "through silence")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    valkey = server.child("valkey-server")
    valkey.send_signal(signal.SIGSTOP)
    try:
        assert server.decide(request_id, "approved").status_code == 200
        eventually(lambda: world.count("through silence") == 1, 15)
    finally:
        valkey.send_signal(signal.SIGCONT)
    assert stream.finish()["status"] == "success"


def test_more_calls_of_one_step_than_processors_all_wait_at_once(server: Live, world: Listener) -> None:
    source = b"""
from langchain_core.tools import BaseTool

class Tool%d(BaseTool):
    name: str = "tool_%d"
    description: str = "One of many."

    def _run(self) -> str:
        return "ran"
"""
    tools = [server.upload(source % (i, i))["id"] for i in range(20)]
    agent = server.create_agent(
        tools=tools,
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={tool: {"hitl": {}} for tool in tools},
    )
    stream = server.run(agent, "all of them")
    for waiting in stream.await_pending(len(tools)):
        assert server.decide(waiting["hitl"]["request_id"], "skipped").status_code == 200
    assert stream.finish()["content"].count("skipped") == len(tools)

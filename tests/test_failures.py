"""What a restart of the servers beneath must not lose."""

import asyncio
import signal
from collections.abc import Iterator

import psutil
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from aip import embedded
from tests import live
from tests.listener import Listener
from tests.live import Live, eventually


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    """A server of this module's own, which may be hurt."""
    with live.running() as running:
        yield running


@pytest.fixture(scope="module")
def agent(server: Live, world: Listener) -> str:
    tool = server.upload("reporter.py", name="reporter")
    return server.create_agent(
        tools=[tool["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={tool["id"]: {"hitl": {"timeout_seconds": 60}, "listener": world.url}},
    )


def child(server: Live, name: str) -> psutil.Process:
    (found,) = [c for c in psutil.Process(server.process.pid).children() if any(name in part for part in c.cmdline())]
    return found


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


def test_a_held_call_is_decided_and_runs_once_after_postgresql_was_away(
    server: Live, agent: str, world: Listener
) -> None:
    stream = server.run(agent, "through a database crash")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    server.process.send_signal(signal.SIGSTOP)  # `up` would start PostgreSQL again at once
    try:
        child(server, "postgres").send_signal(signal.SIGKILL)
        asyncio.run(ring(server, stream.run_id))  # the open stream has to read, and cannot
        refused = server.decide(request_id, "approved")
        assert refused.status_code == 503
        assert "Nothing was changed" in refused.json()["message"]
        eventually(lambda: ": waiting" in stream.lines)
    finally:
        server.process.send_signal(signal.SIGCONT)
    eventually(lambda: approve(server, request_id), 40)
    assert stream.finish(40)["status"] == "success"
    assert world.count("through a database crash") == 1


def test_a_silent_redis_does_not_hold_an_approved_call(server: Live, agent: str, world: Listener) -> None:
    stream = server.run(agent, "through silence")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    valkey = child(server, "valkey-server")
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

"""Asking a person, through the published client: its handler, its `hitl` calls, and its asynchronous half."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import ConflictError, NotFoundError, ValidationError
from glaip_sdk.hitl import HITLDecision, HITLRequest, HITLResponse, RemoteHITLHandler

from tests.client.things import make_agent, make_tool
from tests.client.versions import SHOWS_THE_SERVERS_TEXT, refusal
from tests.live import Live, eventually

Asked = dict[str, Any]


@pytest.mark.parametrize("word", ["approved", "rejected", "skipped"])
def test_a_callback_decides_and_its_words_reach_the_model(client: Client, word: str) -> None:
    tool = make_tool(client)
    agent = make_agent(client, tool, gated=True)
    asked: list[HITLRequest] = []

    def callback(request: HITLRequest) -> HITLResponse:
        asked.append(request)
        return HITLResponse(HITLDecision(word), operator_input=f"my words: {word}")

    handler = RemoteHITLHandler(callback, client=client)
    heard = client.run_agent(agent.id, "send the offer", hitl_handler=handler)
    (request,) = asked
    assert (request.tool_name, request.tool_args) == (tool.name, {"action": "send the offer"})
    assert request.timeout_seconds == 60
    assert f"my words: {word}" in heard
    assert ("Recorded: send the offer" in heard) == (word == "approved")


def test_auto_approve_lets_the_call_run(client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    handler = RemoteHITLHandler(client=client, auto_approve=True)
    heard = client.run_agent(agent.id, "send the offer", hitl_handler=handler)
    assert "Recorded: send the offer" in heard
    assert "auto-approved" in heard


def test_a_handler_without_a_callback_rejects(client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    heard = client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(client=client, auto_approve=False))
    assert "Recorded" not in heard
    assert "rejected" in heard


def test_a_callback_that_fails_rejects_and_says_why(client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)

    def callback(request: HITLRequest) -> HITLResponse:
        raise RuntimeError("the pager is broken")

    heard = client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(callback, client=client))
    assert "Recorded" not in heard
    reason = (
        "the pager is broken" if SHOWS_THE_SERVERS_TEXT else "Approval callback failed; the tool remains unapproved."
    )
    assert reason in heard


@contextmanager
def paused(client: Client, *, tools: int = 1) -> Iterator[tuple[list[str], list[Asked]]]:
    """A run that waits without a handler: its result, when it has one, and what it asks."""
    agent = make_agent(client, *[make_tool(client) for _ in range(tools)], gated=True)
    heard: list[str] = []
    thread = threading.Thread(target=lambda: heard.append(client.run_agent(agent.id, "send the offer")), daemon=True)
    thread.start()

    def asked() -> list[Asked]:
        found = [entry for entry in client.hitl.list_pending() if entry["agent_id"].startswith(agent.name)]
        return found if len(found) == tools else []

    yield heard, eventually(asked)
    thread.join(30)
    assert not thread.is_alive()


# What another process runs: decide every request of these agents, each by its verb.
DECIDE = """
import json, sys
from glaip_sdk import Client

verbs = json.loads(sys.argv[1])
client = Client()
for entry in client.hitl.list_pending():
    if verb := verbs.get(entry["agent_id"]):
        decide = getattr(client.hitl, verb)
        print(decide(entry["request_id"], operator_input="from afar", run_id="my-tracker")["status"])
"""


def test_another_process_sees_what_waits_and_decides_it(server: Live, client: Client) -> None:
    with (
        paused(client) as (approved, [first]),
        paused(client) as (rejected, [second]),
        paused(client) as (skipped, [third]),
    ):
        verbs = {first["agent_id"]: "approve", second["agent_id"]: "reject", third["agent_id"]: "skip"}
        assert first["arguments"] == {"action": "send the offer"}
        env = os.environ | {"AIP_API_URL": server.url, "AIP_API_KEY": server.key}
        done = subprocess.run(
            [sys.executable, "-c", DECIDE, json.dumps(verbs)], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split().count("ok") == 3
        ours = {entry["request_id"] for entry in (first, second, third)}
        assert not ours & {entry["request_id"] for entry in client.hitl.list_pending()}
    assert "Recorded: send the offer" in approved[0]
    assert all("Recorded" not in heard[0] for heard in (rejected, skipped))
    assert all("from afar" in heard[0] for heard in (approved, rejected, skipped))


def test_calls_of_one_step_are_decided_one_by_one(client: Client) -> None:
    with paused(client, tools=2) as (heard, [first, second]):
        client.hitl.approve(first["request_id"])
        client.hitl.reject(second["request_id"])
    assert heard[0].count("Recorded: send the offer") == 1


def test_a_second_decision_conflicts_and_says_who_was_faster(client: Client) -> None:
    with paused(client) as (_heard, [entry]):
        client.hitl.skip(entry["request_id"])
        with pytest.raises(ConflictError, match=refusal(409, "skipped")):
            client.hitl.approve(entry["request_id"])


def test_what_was_never_asked_is_not_found(client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.hitl.approve("00000000-0000-4000-8000-000000000000")
    with pytest.raises(ValidationError, match="request_id"):
        client.hitl.approve("")


def test_the_asynchronous_client_streams_a_pause_that_another_decides(client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)

    async def follow() -> list[Any]:
        chunks = []
        async for chunk in client.agents.arun_agent(agent.id, "send the offer"):
            chunks.append(chunk)
            hitl = chunk.get("metadata", {}).get("hitl", {})
            if hitl.get("decision") == "pending":
                await asyncio.to_thread(client.hitl.approve, hitl["request_id"], "in time")
        return chunks

    chunks = asyncio.run(follow())
    finals = [chunk for chunk in chunks if chunk.get("is_final")]
    assert [final["metadata"]["kind"] for final in finals] == ["final_response"]
    assert "Recorded: send the offer" in finals[0]["content"]


def test_a_callback_that_takes_longer_than_a_worker_holds_is_asked_once(server: Live, client: Client) -> None:
    """The run is parked meanwhile, and its pending event stays the only one (trap 18)."""
    agent = make_agent(client, make_tool(client), gated=True)
    asked: list[str] = []

    def callback(request: HITLRequest) -> HITLResponse:
        asked.append(request.request_id)
        eventually(lambda: server.rows("SELECT 1 FROM agents_run WHERE agent_id = %s AND status = 'waiting'", agent.id))
        return HITLResponse(HITLDecision.APPROVED)

    heard = client.run_agent(agent.id, "go", hitl_handler=RemoteHITLHandler(callback, client=client))
    assert "Recorded: go" in heard
    assert len(asked) == 1


def test_the_fastest_handler_is_never_too_early(client: Client) -> None:
    """A request can be decided before its event leaves (trap 16): a 404 would end in the deadline."""
    agent = make_agent(client, make_tool(client), gated=True)

    def run(i: int) -> str:
        return client.run_agent(agent.id, f"go {i}", hitl_handler=RemoteHITLHandler(client=client, auto_approve=True))

    with ThreadPoolExecutor(8) as threads:
        heard = list(threads.map(run, range(24)))
    assert [i for i in range(24) if f"Recorded: go {i}" not in heard[i]] == []

"""What a program that uses the client learns of an error, beside its text."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import APIError, NotFoundError, ValidationError

from tests.client.things import make_agent, make_tool
from tests.client.versions import ITS_OWN_OF_A_FIELD, SHOWS_THE_SERVERS_TEXT
from tests.live import Live, eventually

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_an_error_has_the_id_under_which_the_server_logs_it(client: Client) -> None:
    with pytest.raises(NotFoundError) as raised:
        client.get_agent(UNKNOWN)
    assert re.fullmatch(r"[0-9a-f]{32}", raised.value.request_id or "")
    assert raised.value.retryable is False
    if not SHOWS_THE_SERVERS_TEXT:
        assert (raised.value.error_code, raised.value.category) == ("not_found", "not_found")


def test_a_refused_field_is_named(client: Client) -> None:
    made = make_agent(client)
    with pytest.raises(ValidationError) as raised:
        client.patch_agent(made.id, tools=[UNKNOWN])
    said = f"tools: There is no tool with the id {UNKNOWN}; upload it first. (invalid)"
    of_field = said if SHOWS_THE_SERVERS_TEXT else f"{ITS_OWN_OF_A_FIELD} (invalid)"
    assert f"Validation errors:\n  tools: {of_field}" in str(raised.value)


def outcome(client: Client, agent_id: str) -> Any:
    """What a run that came to no answer gives: a text or, since 0.10, an error with words for programs."""
    try:
        return client.run_agent(agent_id, "go")
    except APIError as e:
        return e.error_code, e.category, str(e.run_id)


def test_a_run_that_was_cancelled_says_so(server: Live, client: Client) -> None:
    agent = make_agent(client, make_tool(client), gated=True)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(outcome, client, str(agent.id))
        (asked,) = eventually(lambda: [e for e in server.pending() if e["agent_id"].startswith(agent.name)])
        run_id = asked["run_id"]
        assert server.client.post(f"/agents/{agent.id}/runs/{run_id}/cancel").status_code == 200
        words = ("cancelled", "cancelled", run_id)
        assert running.result(30) == ("The run was cancelled by master." if SHOWS_THE_SERVERS_TEXT else words)

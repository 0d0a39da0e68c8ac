"""Trap 12: the published client may repeat what met a 5xx, so nothing may have been written by then.

0.9.16 repeats every request. Since 0.10 it repeats reads alone, after as long as Retry-After says.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from glaip_sdk import Client
from glaip_sdk.exceptions import ServerError

from tests.client.things import make_agent, new_name
from tests.client.versions import SHOWS_THE_SERVERS_TEXT
from tests.live import Live, eventually, killed


def test_trap_12_an_agent_that_is_created_while_the_database_is_away_is_created_once(server: Live) -> None:
    name, met = new_name("agent"), list[httpx.Response]()
    with Client(api_url=server.url, api_key=server.key) as client, ThreadPoolExecutor(1) as thread:
        client.agents.list_language_models()  # remembered, so that creating is the first that meets the failure
        client.http_client.event_hooks["response"].append(met.append)
        with killed(server, "postgres"):
            making = thread.submit(make_agent, client, name=name)
            eventually(lambda: [answer for answer in met if answer.status_code == 503], 30)
        if not SHOWS_THE_SERVERS_TEXT:
            assert made_meanwhile(server, client, making, name) == []
            making = thread.submit(make_agent, client, name=name)
        made = making.result(60)
        assert [(answer.request.method, answer.status_code) for answer in met[:1]] == [("POST", 503)]
        assert [agent.id for agent in client.find_agents(name)] == [made.id]


def made_meanwhile(server: Live, client: Client, making: "Future[Any]", name: str) -> list[Any]:
    """The agents of that name, once the client has given up."""
    with pytest.raises(ServerError) as raised:
        making.result(60)
    assert (raised.value.error_code, raised.value.category) == ("unavailable", "unavailable")
    eventually(lambda: server.client.get("/health-check").status_code == 200, 60)
    return list(client.find_agents(name))


def test_a_read_while_the_database_is_away_is_repeated_until_it_is_answered(server: Live) -> None:
    met = list[httpx.Response]()
    with Client(api_url=server.url, api_key=server.key) as client, ThreadPoolExecutor(1) as thread:
        client.http_client.event_hooks["response"].append(met.append)
        with killed(server, "postgres"):
            reading = thread.submit(client.list_tools)
            eventually(lambda: [answer for answer in met if answer.status_code == 503], 30)
        assert reading.result(60)
    assert {answer.headers["Retry-After"] for answer in met if answer.status_code == 503} == {"2"}

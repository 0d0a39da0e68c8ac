"""Trap 12: the published client repeats what met a 5xx, POST included, so nothing may have been written by then."""

from concurrent.futures import ThreadPoolExecutor

import httpx
from glaip_sdk import Client

from tests.client.things import make_agent, new_name
from tests.live import Live, eventually, killed


def test_trap_12_an_agent_that_is_created_while_the_database_is_away_is_created_once(server: Live) -> None:
    name, met = new_name("agent"), list[httpx.Response]()
    with Client(api_url=server.url, api_key=server.key) as client, ThreadPoolExecutor(1) as thread:
        client.agents.list_language_models()  # remembered, so that creating is the first that meets the failure
        client.http_client.event_hooks["response"].append(met.append)
        with killed(server, "postgres"):
            making = thread.submit(make_agent, client, name=name)
            eventually(lambda: [answer for answer in met if answer.status_code == 503], 30)
        made = making.result(60)
        assert [(answer.request.method, answer.status_code) for answer in met[:1]] == [("POST", 503)]
        assert [agent.id for agent in client.find_agents(name)] == [made.id]

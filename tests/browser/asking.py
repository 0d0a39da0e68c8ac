"""Requests to look at: runs of the rehearsal model, whose tool reports to the listener."""

import uuid
from typing import Any

from playwright.sync_api import Locator, Page

from tests.listener import Listener
from tests.live import Live, Stream


def make_agent(
    server: Live, tool: dict[str, Any], world: Listener, *, seconds: float = 180, name: str = "recruiter", **config: Any
) -> str:
    return server.create_agent(
        name=name,
        tools=[tool["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={tool["id"]: {"hitl": {"timeout_seconds": seconds}, "listener": world.url, **config}},
    )


def ask(server: Live, agent: str, text: str = "") -> tuple[Stream, str]:
    stream = server.run(agent, text or f"please act {uuid.uuid4()}")
    return stream, stream.await_pending()[0]["hitl"]["request_id"]


def card(page: Page, request_id: str) -> Locator:
    return page.locator(f"#card-{request_id}")


def open_request(page: Page, server: Live, request_id: str, query: str = "") -> None:
    page.goto(f"{server.url}/admin/inbox/{request_id}/{query}")

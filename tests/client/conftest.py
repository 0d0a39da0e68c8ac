"""The published client, unmodified, at the suite's running server."""

from collections.abc import Iterator

import pytest
from glaip_sdk import Client
from glaip_sdk.registry.agent import get_agent_registry
from glaip_sdk.registry.tool import get_tool_registry
from glaip_sdk.utils.client import reset_client, set_client

from tests.live import Live


@pytest.fixture
def client(server: Live) -> Iterator[Client]:
    with Client(api_url=server.url, api_key=server.key) as found:
        yield found


@pytest.fixture
def newcomer(client: Client) -> Iterator[None]:
    """What a new process is: `Agent.deploy()` finds this server, and remembers nothing of earlier ones."""
    set_client(client)
    forget()
    yield
    forget()
    reset_client()


def forget() -> None:
    """Empty what the client remembers of what it deployed, as a new process does."""
    get_agent_registry().clear()
    get_tool_registry().clear()

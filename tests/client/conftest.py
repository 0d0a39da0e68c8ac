"""The published client, unmodified, at a server of this session's own: see tests/test_client.py, which starts it."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

# The client makes the directory when it is imported, and would leave it behind.
os.environ["AIP_CONFIG_DIR"] = tempfile.mkdtemp(prefix="aip-test-client-")
atexit.register(shutil.rmtree, os.environ["AIP_CONFIG_DIR"])

from glaip_sdk import Client  # noqa: E402
from glaip_sdk.registry.agent import get_agent_registry  # noqa: E402
from glaip_sdk.registry.tool import get_tool_registry  # noqa: E402
from glaip_sdk.utils.client import reset_client, set_client  # noqa: E402

from tests import live, model_server  # noqa: E402


@pytest.fixture(scope="session")
def models() -> Iterator[model_server.ModelServer]:
    with model_server.serving() as server:
        yield server


@pytest.fixture(scope="session")
def server(models: model_server.ModelServer) -> Iterator[live.Live]:
    """A whole running server, in its own environment and not in the client's."""
    with live.running_for_all(models.url, python=os.environ["AIP_TEST_PYTHON"]) as running:
        yield running


@pytest.fixture
def client(server: live.Live) -> Iterator[Client]:
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

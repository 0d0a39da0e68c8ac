"""Tools as people write them, uploaded and run by a real worker: as LangChain's own ToolNode runs the same files."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents.ways import WAYS, Way
from tests.live import CHECKOUT, Live
from tests.model_server import ModelServer, calls, says, tool_call, tool_results

MODEL = "matrix"
Outcome = tuple[str, Any]


@pytest.fixture(scope="module")
def expected() -> dict[str, Outcome | None]:
    """What ToolNode makes of each way, in a process that knows nothing of the server."""
    command = [sys.executable, "-m", "tests.agents.tool_node"]
    output = subprocess.check_output(command, cwd=CHECKOUT, timeout=120, stderr=subprocess.DEVNULL)
    return {name: None if found is None else tuple(found) for name, found in json.loads(output).items()}


@pytest.fixture(scope="module")
def outcomes(server: Live, models: ModelServer) -> Iterator[dict[str, Outcome]]:
    """All of them called in one step of one run: the status that is recorded, and what the model gets."""
    wanted = calls(*[tool_call(way.name, way.arguments, f"call-{way.name}") for way in WAYS])
    models.scripts[MODEL] = lambda body: says("Done.") if tool_results(body) else wanted
    tools = [
        server.upload(way.file.encode(), name=f"matrix_{way.name}", **({"object": way.object} if way.object else {}))
        for way in WAYS
    ]
    agent = server.create_agent(
        tools=[tool["id"] for tool in tools], agent_config={"lm_provider": "openai", "lm_name": MODEL}
    )
    stream = server.run(agent, "hello")
    stream.finish(150)
    words = {"finished": "success", "failed": "error"}
    recorded = {
        call["name"]: words[event["metadata"]["status"]]
        for event in stream.events
        if event.get("event_type") == "tool_result"
        for call in [event["metadata"]["tool_info"]]
    }
    sent = [message for message in models.sent_to(MODEL)[-1]["messages"] if message["role"] == "tool"]
    yield {
        name: (recorded[name], message["content"])
        for message in sent
        for name in [message["tool_call_id"].removeprefix("call-")]
    }
    for tool in tools:
        server.client.delete(f"/tools/{tool['id']}")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_it_runs_as_langchain_runs_it(
    outcomes: dict[str, Outcome], expected: dict[str, Outcome | None], way: Way
) -> None:
    assert outcomes[way.name] == (way.instead or expected[way.name])

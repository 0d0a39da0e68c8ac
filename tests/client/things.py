"""What the client's tests make on the server; each has a name of its own, for all share one server."""

import uuid
from typing import Any

from glaip_sdk import Agent, Client, Tool

from tests.live import CHECKOUT

EXAMPLE = (CHECKOUT / "examples" / "requires_approval_tool.py").read_text()
MODEL = "rehearsal/default"


def new_name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:8]}"


def source(name: str, word: str = "Recorded") -> str:
    """The guide's tool by that name; a call answers the word and the action."""
    return EXAMPLE.replace("requires_approval_tool", name).replace("Recorded:", f"{word}:")


def make_tool(client: Client, **fields: Any) -> Tool:
    name = new_name("record")
    return client.create_tool_from_code(name=name, code=source(name), **fields)


def make_agent(client: Client, *tools: Tool, gated: bool = False, **fields: Any) -> Agent:
    """An agent that calls each of its tools once, with the message as the action; gated: for 60 s."""
    settings: dict[str, Any] = {"hitl": {"timeout_seconds": 60}} if gated else {}
    given = {
        "name": new_name("agent"),
        "instruction": "Do as you are asked.",
        "model": MODEL,
        "tools": [tool.id for tool in tools],
        "tool_configs": {tool.id: settings for tool in tools},
        "agent_config": {"hitl_enabled": gated},
    }
    return client.create_agent(**given | fields)


def model_id(client: Client, name: str) -> str:
    """The id under which a model is listed."""
    listed = {f"{model['provider']}/{model['name']}": model["id"] for model in client.agents.list_language_models()}
    return str(listed[name])

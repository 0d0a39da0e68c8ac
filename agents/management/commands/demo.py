"""`manage.py demo`: one agent with a gated tool, and one run of it, so that there is something to decide."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from agents.catalog import agents as agent_catalog
from agents.catalog import tools as tool_catalog
from agents.models import Agent, Tool
from agents.runs import lifecycle

TOOL_FILE: Path = settings.BASE_DIR / "examples" / "requires_approval_tool.py"
AGENT = "demo_agent"
INPUT = "Please send an offer email to jane.doe@example.com and update her ATS record."
# Long enough for a newcomer to look around first.
TIMEOUT_SECONDS = 3600


class Command(BaseCommand):
    help = "Load an agent with a gated tool on the rehearsal model and start one run."

    def handle(self, *_args: Any, **_options: Any) -> None:
        agent = Agent.objects.filter(name=AGENT, deleted_at=None).first() or _create_agent()
        run = lifecycle.start(str(agent.pk), input=INPUT, chat_history=[], runtime_config={})
        self.stdout.write(f"The agent {agent.name} ({agent.pk}) has begun run {run.pk}.")
        self.stdout.write("It waits for a decision: GET /agents/hitl/pending lists it.")


def _tool() -> Tool:
    found = Tool.objects.filter(name=TOOL_FILE.stem, deleted_at=None).first()
    return found or tool_catalog.upload(
        source=TOOL_FILE.read_bytes(),
        file_name=TOOL_FILE.name,
        name=TOOL_FILE.stem,
        framework="langchain",
        version="1.0",
        description=None,
        tags=[],
    )


def _create_agent() -> Agent:
    tool = _tool()
    return agent_catalog.create(
        tools=[tool],
        name=AGENT,
        instruction="Whenever an action needs approval, call the requires_approval_tool first.",
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={str(tool.pk): {"hitl": {"timeout_seconds": TIMEOUT_SECONDS}}},
    )

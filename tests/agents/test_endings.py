"""Why a run came to no answer is in its last event, as a word for programs."""

from typing import Any

import pytest

from agents.catalog import agents as agent_catalog
from agents.llm import chat_models
from agents.llm.rehearsal import Rehearsal
from agents.models import RunEvent, RunStatus
from tests.agents.runs import carried, start, upload
from tests.listener import Listener

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


class Looping(Rehearsal):
    """Sees no result, so it calls again."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate([m for m in messages if m.type == "human"], *args, **kwargs)


class Defective(Rehearsal):
    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a defect")


@pytest.mark.parametrize(
    ("model", "error_code", "category"),
    [(Looping, "step_limit_exceeded", "limit"), (Defective, "server_error", "server")],
)
def test_a_run_that_fails_says_why(
    world: Listener, monkeypatch: pytest.MonkeyPatch, model: type[Rehearsal], error_code: str, category: str
) -> None:
    tool = upload("reporter")
    agent = agent_catalog.create(name="a", tools=[tool], tool_configs={str(tool.pk): {"listener": world.url}})
    monkeypatch.setattr(chat_models, "build", lambda _model, _listener=None: model())
    monkeypatch.setattr("agents.loop.engine.MAX_STEPS", 6)
    run = start(agent)
    assert carried(run).status == RunStatus.FAILED
    end = RunEvent.objects.get(run=run, key="end").payload
    for said in (end, end["metadata"]):
        assert (said["error_code"], said["category"]) == (error_code, category)

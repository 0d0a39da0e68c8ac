"""An agent gives a task to another one: its calls are decided like any other, and nothing finished is done again."""

import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from langchain_core.language_models import BaseChatModel

from agents.api.agent_serializers import AgentInputSerializer
from agents.catalog import agents as agent_catalog
from agents.catalog import model_names, names, subagents
from agents.catalog import tools as tool_catalog
from agents.llm import chat_models
from agents.llm.rehearsal import Rehearsal
from agents.models import Agent, Run, RunEvent, RunStatus
from agents.runs import attempt, lifecycle
from aip.core.exceptions import Conflict, Invalid
from hitl.models import ApprovalRequest, Execution
from tests.agents.runs import (
    REPORTER,
    await_requests,
    carried,
    carry,
    decide,
    fresh,
    gated_agent,
    requests,
    start,
    upload,
)
from tests.listener import Listener
from tests.live import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def leader(*agents: Agent, name: str = "leader", **fields: Any) -> Agent:
    return agent_catalog.create(name=name, tools=[], agents=list(agents), **fields)


def named(agent: Agent, name: str) -> Agent:
    Agent.objects.filter(pk=agent.pk).update(name=name)
    return agent_catalog.living(str(agent.pk))


@pytest.fixture
def worker(world: Listener) -> Agent:
    """A sub-agent with one gated tool, the reporter."""
    return named(gated_agent(world), "worker")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each model was asked, as the kinds of the messages."""
    seen: list[list[str]] = []
    generate = Rehearsal._generate

    def counting(self: Rehearsal, messages: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append([message.type for message in messages])
        return generate(self, messages, *args, **kwargs)

    monkeypatch.setattr(Rehearsal, "_generate", counting)
    return seen


def events_of(run: Run) -> dict[str, dict[str, Any]]:
    """By key, without the parts of keys that are random."""
    return {row.key: row.payload for row in RunEvent.objects.filter(run=run).order_by("seq")}


def end_of(run: Run) -> str:
    return str(events_of(run)["end"]["content"])


@pytest.mark.parametrize("hold", [0, 20], ids=["parked", "held"])
def test_a_call_of_a_sub_agent_waits_is_decided_and_runs_once(
    world: Listener, worker: Agent, alice: User, settings: Any, asked: list[list[str]], hold: int
) -> None:
    settings.HITL_HOLD_SECONDS = hold
    run = start(leader(worker))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    assert (request.agent_id, request.agent_name) == (worker.pk, "worker")
    assert [part.partition(":")[0] for part in request.checkpoint_ns.split("|")] == ["tools", "tools"]
    if not hold:
        thread.join(20)
        assert (fresh(run).status, fresh(run).holder) == (RunStatus.WAITING, "")
    decide(request, "approved", alice)
    if not hold:
        thread = carry(run)
    thread.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert world.count(run.input) == 1
    assert end_of(run) == f"worker: reporter: reported {run.input}"
    # Two models, twice each: for the call, and for the answer.
    assert len(asked) == 4


@pytest.mark.parametrize("word", ["rejected", "skipped"])
def test_a_call_that_is_refused_is_told_to_the_sub_agent(
    world: Listener, worker: Agent, alice: User, word: str
) -> None:
    run = start(leader(worker))
    thread = carry(run)
    decide(await_requests(run)["reporter"], word, alice)
    thread.join(20)
    assert f"The operator {word} this call of reporter" in end_of(run)
    assert world.count(run.input) == 0


def test_the_request_of_a_sub_agent_says_which_agent_gave_it_the_task(
    worker: Agent, settings: Any, admin_client: Client
) -> None:
    settings.HITL_HOLD_SECONDS = 0
    run = carried(start(leader(worker, name="chief"), requester="carol"))
    request = requests(run)["reporter"]
    page = admin_client.get(f"/admin/inbox/{request.pk}/").text
    for text in (page, admin_client.get(f"/admin/hitl/approvalrequest/{request.pk}/change/").text):
        assert ">The agent chief<" in text
        assert ">Person<" not in text
    assert "which works for the agent <bdi>chief</bdi>, run for <bdi>carol</bdi>" in page


def test_a_worker_that_dies_while_a_nested_call_waits_loses_and_repeats_nothing(
    world: Listener, alice: User, settings: Any, asked: list[list[str]]
) -> None:
    """One call of the sub-agent has run, the other one waits; whoever takes over asks no model again."""
    settings.HITL_HOLD_SECONDS = 20
    run = start(leader(named(gated_agent(world, "first", "second"), "worker")))
    dead = carry(run)
    decide(await_requests(run, 2)["first"], "approved", alice)
    eventually(lambda: requests(run)["first"].execution == Execution.FINISHED)
    before = dict(requests(run))
    Run.objects.filter(pk=run.pk).update(status=RunStatus.QUEUED, holder="")  # as the sweep does with a lost lease
    thread = carry(run)
    eventually(lambda: fresh(run).attempt == 2)
    decide(requests(run)["second"], "approved", alice)
    for each in (thread, dead):
        each.join(20)
        assert not each.is_alive()
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert {r.pk for r in requests(run).values()} == {r.pk for r in before.values()}
    assert sorted(report["tool"] for report in world.heard if report["text"] == run.input) == ["first", "second"]
    assert len(asked) == 4


def test_calls_of_leader_and_sub_agent_wait_side_by_side_and_each_has_its_effect_at_once(
    world: Listener, worker: Agent, alice: User, settings: Any
) -> None:
    for hold in (0, 20):
        settings.HITL_HOLD_SECONDS = hold
        both = gated_agent(world, f"own_{hold}")
        both = agent_catalog.create(
            name="both",
            tools=[entry.tool for entry in both.agent_tools.all()],
            agents=[worker],
            agent_config=both.agent_config,
            tool_configs=both.tool_configs,
        )
        run = start(both)
        thread = carry(run)
        waiting = await_requests(run, 2)
        for name in (f"own_{hold}", "reporter"):
            if not hold:
                thread.join(20)
                assert fresh(run).status == RunStatus.WAITING
            decide(waiting[name], "skipped", alice)
            if not hold:
                thread = carry(run)
            eventually(lambda name=name, run=run: requests(run)[name].settled_at)
        thread.join(20)
        assert fresh(run).status == RunStatus.SUCCEEDED


def test_a_run_whose_nested_call_waits_takes_no_thread_and_stops_with_its_worker(
    worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    monkeypatch.setattr(attempt, "stopping", stopping)
    threads = threading.active_count()
    run = start(leader(worker))
    thread = carry(run)
    await_requests(run)
    stopping.set()
    thread.join(10)
    assert fresh(run).status == RunStatus.WAITING
    eventually(lambda: threading.active_count() <= threads)


def test_a_run_is_cancelled_while_its_sub_agent_waits(worker: Agent) -> None:
    run = start(leader(worker))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    lifecycle.cancel(run.pk, by="alice")
    thread.join(10)
    assert not thread.is_alive()
    assert requests(run)["reporter"].status == "cancelled"
    assert request.pk == requests(run)["reporter"].pk
    assert "end" in events_of(run)


def test_a_nested_call_of_unknown_outcome_is_asked_about_again(world: Listener, worker: Agent, alice: User) -> None:
    run = start(leader(worker))
    dead = carry(run)
    first = await_requests(run)["reporter"]
    world.delays[run.input, "reporter"] = 3
    decide(first, "approved", alice)
    eventually(lambda: world.count(run.input))
    Run.objects.filter(pk=run.pk).update(status=RunStatus.QUEUED, holder="")
    thread = carry(run)
    again = eventually(lambda: r if (r := requests(run)["reporter"]).round == 2 else None)
    assert "its outcome is unknown" in again.reason
    assert (again.agent_name, again.checkpoint_ns) == ("worker", first.checkpoint_ns)
    decide(again, "rejected", alice)
    thread.join(20)
    dead.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert world.count(run.input) == 1


def test_agents_work_for_agents_who_work_for_agents(world: Listener, worker: Agent, alice: User) -> None:
    run = start(leader(leader(worker, name="middle")))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    assert request.checkpoint_ns.count("|") == 2
    decide(request, "approved", alice)
    thread.join(20)
    assert end_of(run) == f"middle: worker: reporter: reported {run.input}"


def test_the_events_of_a_sub_agent_are_marked_and_hang_below_its_task(worker: Agent, alice: User) -> None:
    run = start(leader(worker))
    thread = carry(run)
    decide(await_requests(run)["reporter"], "approved", alice)
    thread.join(20)
    found = list(events_of(run).items())
    kinds = [key.partition(":")[0] for key, _ in found]
    assert kinds == ["opened", "begun", "calls", "delegated", "calls", "pending", "result", "result", "end"]
    (_, asks), (_, task), (_, nested), (_, pending), (_, result), (_, done) = [
        (key, payload["metadata"]) for key, payload in found[2:8]
    ]
    assert [each.get("is_sub_agent_event", False) for each in (asks, task, done)] == [False] * 3
    assert [each["is_sub_agent_event"] for each in (nested, pending, result)] == [True] * 3
    assert {each["agent_name"] for each in (asks, task, done)} == {"leader"}
    assert {each["agent_name"] for each in (nested, pending, result)} == {"worker"}
    assert asks["previous_step_ids"] == ["root"]
    assert task["previous_step_ids"] == done["previous_step_ids"] == [asks["step_id"]]
    assert task["step_id"] == done["step_id"]
    assert nested["previous_step_ids"] == [task["step_id"]]
    assert pending["previous_step_ids"] == result["previous_step_ids"] == [task["step_id"], nested["step_id"]]
    assert task["tool_info"]["args"] == {"task": run.input}
    assert done["tool_info"]["output"] == f"reporter: reported {run.input}"
    assert not any(payload.get("is_final") for _, payload in found[:-1])


# What may be an agent's sub-agent


def errors(agents: list[Any], of: Agent | None = None, **fields: Any) -> str:
    serializer = AgentInputSerializer(instance=of, data={"name": "agent", "agents": agents} | fields)
    return "" if serializer.is_valid() else str(serializer.errors)


def test_unknown_and_deleted_agents_are_refused(worker: Agent) -> None:
    assert errors([str(worker.pk), str(worker.pk)]) == ""
    assert "There is no agent with the id" in errors([str(uuid.uuid4())])
    assert "There is no agent with the id nonsense" in errors(["nonsense"])
    Agent.objects.filter(pk=worker.pk).update(deleted_at=worker.created_at)
    assert "There is no agent with the id" in errors([str(worker.pk)])


def test_cycles_are_refused(worker: Agent) -> None:
    middle = leader(worker, name="middle")
    top = leader(middle, name="top")
    for of in (worker, middle):
        assert "its own sub-agent" in errors([str(top.pk)], of=of)
    assert "its own sub-agent" in errors([str(worker.pk)], of=worker)
    assert errors([str(worker.pk)], of=top) == ""


def test_a_cycle_that_was_made_behind_the_checks_starts_no_run(worker: Agent) -> None:
    top = leader(worker)
    worker.sub_agents.create(sub_agent=top, position=0)
    with pytest.raises(Invalid, match="its own sub-agent"):
        start(agent_catalog.living(str(top.pk)))
    assert not Run.objects.exists()


def test_an_agent_that_would_be_its_own_sub_agent_by_now_is_not_restored(worker: Agent) -> None:
    middle = leader(worker, name="middle")
    top = leader(middle, name="top")
    agent_catalog.delete(str(middle.pk))
    assert errors([str(top.pk)], of=worker) == ""
    with agent_catalog.editing(str(worker.pk)) as agent:
        agent_catalog.change(agent, agents=[top])
    with pytest.raises(Conflict, match="its own sub-agent"):
        agent_catalog.restore(str(middle.pk))
    assert not Agent.objects.filter(pk=middle.pk, deleted_at=None).exists()
    with agent_catalog.editing(str(worker.pk)) as agent:
        agent_catalog.change(agent, agents=[])
    assert agent_catalog.restore(str(middle.pk)).deleted_at is None


def test_an_agent_with_a_tool_and_a_sub_agent_that_are_alike_by_now_is_not_restored(worker: Agent) -> None:
    tool = upload("helper")
    top = agent_catalog.create(name="leader", tools=[tool], agents=[worker])
    agent_catalog.delete(str(top.pk))
    tool_catalog.upload_again(str(tool.pk), source=REPORTER.replace(b'"reporter"', b'"worker"'), file_name="tool.py")
    with pytest.raises(Conflict, match="cannot tell them apart"):
        agent_catalog.restore(str(top.pk))
    assert not Agent.objects.filter(pk=top.pk, deleted_at=None).exists()


def test_an_agent_whose_leader_has_a_tool_of_its_name_by_now_is_not_restored(worker: Agent) -> None:
    top = leader(worker)
    agent_catalog.delete(str(worker.pk))
    with agent_catalog.editing(str(top.pk)) as agent:
        agent_catalog.change(agent, tools=[upload("worker")])
    with pytest.raises(Conflict, match="cannot tell them apart"):
        agent_catalog.restore(str(worker.pk))
    assert not Agent.objects.filter(pk=worker.pk, deleted_at=None).exists()


def test_a_tool_does_not_come_to_be_called_as_a_sub_agent_is(worker: Agent) -> None:
    tool = upload("helper")
    agent_catalog.create(name="leader", tools=[tool], agents=[worker])
    with pytest.raises(names.NamesClash, match="the sub-agent 'worker', which is called 'worker' as well"):
        tool_catalog.upload_again(
            str(tool.pk), source=REPORTER.replace(b'"reporter"', b'"worker"'), file_name="tool.py"
        )
    again = tool_catalog.upload_again(
        str(tool.pk), source=REPORTER.replace(b'"reporter"', b'"aid"'), file_name="tool.py"
    )
    assert again.current.tool_name == "aid"


def test_depth_and_number_are_bounded(worker: Agent) -> None:
    top = worker
    for number in range(subagents.MAX_LEVELS - 2):
        top = leader(top, name=f"level {number}")
    assert errors([str(top.pk)]) == ""
    assert "may be nested 4 deep" in errors([str(leader(top).pk)])
    wide = [str(leader(worker, name=f"wide {number}").pk) for number in range(51)]
    assert errors(wide[:50]) == ""
    assert "may have 100 sub-agents" in errors(wide)


def test_names_that_a_model_cannot_tell_apart_are_refused(worker: Agent) -> None:
    assert "would be called 'worker'" in errors([str(worker.pk), str(leader(name="worker!").pk)])
    tool = upload("worker")
    assert "a model cannot tell them apart" in errors([str(worker.pk)], tools=[str(tool.pk)])


@pytest.mark.parametrize(
    ("name", "called"),
    [("Mail clerk", "Mail_clerk"), ("a.b/c", "a_b_c"), ("x" * 80, "x" * 64), ("Zürich-2", "Z_rich-2")],
)
def test_an_agent_is_called_by_its_name_as_far_as_a_tool_may_be(name: str, called: str) -> None:
    assert names.tool_name(Agent(name=name)) == called


def test_an_agent_whose_name_has_no_letter_that_a_tool_may_have_is_called_by_its_id() -> None:
    agent = Agent(name="茶")
    assert names.tool_name(agent) == f"agent_{str(agent.pk)[:8]}"


# What a run freezes


def test_a_run_keeps_the_sub_agents_that_it_began_with(world: Listener, worker: Agent, alice: User) -> None:
    run = start(leader(worker))
    Agent.objects.filter(pk=worker.pk).update(name="renamed", deleted_at=worker.created_at)
    thread = carry(run)
    decide(await_requests(run)["reporter"], "approved", alice)
    thread.join(20)
    assert end_of(run).startswith("worker: ")


def test_a_deleted_sub_agent_is_offered_to_no_later_run(worker: Agent) -> None:
    top = leader(worker)
    Agent.objects.filter(pk=worker.pk).update(deleted_at=worker.created_at)
    run = start(top, "hello")
    assert run.spec["agents"] == []
    assert carried(run).status == RunStatus.SUCCEEDED
    assert end_of(run) == "You said: hello"


def test_runtime_config_reaches_a_sub_agent_under_its_own_id_alone(worker: Agent) -> None:
    off = {"agent_config": {"hitl_enabled": False}}
    top = leader(worker)
    for given, is_gated in ((off, True), ({str(worker.pk): off}, False), ({str(worker.pk).upper(): off}, False)):
        run = lifecycle.start(str(top.pk), input="go", chat_history=[], runtime_config=given)
        (sub,) = run.spec["agents"]
        assert (sub["tools"][0]["hitl_timeout_seconds"] is not None) == is_gated


def test_a_tree_of_agents_is_frozen_with_a_statement_per_level(worker: Agent, django_assert_num_queries: Any) -> None:
    middles = [leader(worker, name=f"middle {number}") for number in range(10)]
    top = agent_catalog.living(str(leader(*middles).pk))
    # The agent, and two levels below that are looked at, the last to find nothing below; all tools, in one transaction;
    # the run and its event in another.
    with django_assert_num_queries(13):
        run = start(top)
    assert [sub["agents"][0]["agent_name"] for sub in run.spec["agents"]] == ["worker"] * 10


# Failures


class Looping(Rehearsal):
    """Sees no result, so it calls again."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate([m for m in messages if m.type == "human"], *args, **kwargs)


def test_a_sub_agent_whose_model_cannot_be_asked_is_a_failed_call_and_spoils_no_run(settings: Any) -> None:
    settings.OPENAI_API_KEY = ""
    broken = leader(name="broken", agent_config={"lm_provider": "openai", "lm_name": "gpt-4.1"})
    run = start(leader(broken))
    assert carried(run).status == RunStatus.SUCCEEDED
    assert "broken: The model openai/gpt-4.1 needs a key" in end_of(run)
    (result,) = [e for key, e in events_of(run).items() if key.startswith("result")]
    assert result["metadata"]["status"] == "failed"


def test_a_sub_agent_that_never_comes_to_an_answer_is_a_failed_call(
    world: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = upload("reporter")
    looping = agent_catalog.create(name="looping", tools=[tool], tool_configs={str(tool.pk): {"listener": world.url}})

    def build(model: model_names.Model, listener: Any = None) -> BaseChatModel:
        return Rehearsal() if listener.run_id else Looping()

    monkeypatch.setattr(chat_models, "build", build)
    monkeypatch.setattr("agents.loop.engine.MAX_STEPS", 6)
    run = start(leader(looping))
    assert carried(run).status == RunStatus.SUCCEEDED
    assert "without coming to an answer" in end_of(run)


def test_a_sub_agent_that_comes_to_no_answer_is_ended_also_if_it_parks_at_each_step(
    world: Listener, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HITL_HOLD_SECONDS = 0
    monkeypatch.setattr(
        chat_models, "build", lambda _model, listener=None: Rehearsal() if listener.run_id else Looping()
    )
    monkeypatch.setattr("agents.loop.engine.MAX_STEPS", 6)
    run = start(leader(gated_agent(world)))
    for _ in range(6):
        if carried(run).status != RunStatus.WAITING:
            break
        (asked,) = ApprovalRequest.objects.filter(run_id=run.pk, status="pending")
        decide(asked, "approved", alice)
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert "without coming to an answer" in end_of(run)


# On the wire


def test_an_agent_is_given_back_with_its_sub_agents_as_objects(worker: Agent, django_assert_num_queries: Any) -> None:
    from django.conf import settings
    from django.test import Client

    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    body = {"name": "leader", "agents": [str(worker.pk)]}
    made = client.post("/agents/", body, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["data"]["agents"] == [{"id": str(worker.pk), "name": "worker"}]
    path = f"/agents/{made.json()['data']['id']}"
    assert client.get(path).json()["data"]["agents"] == [{"id": str(worker.pk), "name": "worker"}]
    refused = client.post("/agents/", body | {"agents": [str(uuid.uuid4())]}, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("agents: There is no agent with the id")
    Agent.objects.filter(pk=worker.pk).update(deleted_at=worker.created_at)
    assert client.get(path).json()["data"]["agents"] == []

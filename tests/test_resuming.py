"""A run that failed for its model's sake, or at its step limit, can be resumed: what ran is not repeated."""

import asyncio
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from agents.api import stream
from agents.catalog import agents as agent_catalog
from agents.catalog import tools as tool_catalog
from agents.llm.rehearsal import Rehearsal
from agents.models import Agent, Run, RunEvent, RunStatus
from agents.runs import events, lifecycle, resumption
from agents.runs.resumption import NotResumable
from hitl import approvals, executions
from hitl.models import ApprovalRequest, Execution, Source, Status
from tests.agents.runs import carried, decide, fresh, gated_agent, requests, start, upload
from tests.conftest import in_threads
from tests.listener import Listener
from tests.live import Event, Live, Stream
from tests.model_server import Body, ModelServer, calls, says, tool_call, tool_results

TEXT = "counted once"


def resume(server: Live, agent: str, run_id: str) -> httpx.Response:
    return server.client.post(f"/agents/{agent}/runs/{run_id}/resume")


def follow(server: Live, agent: str, run_id: str, after: int = 0) -> Stream:
    return Stream(server, f"/agents/{agent}/runs/{run_id}/stream?after={after}", method="GET")


# Over the wire, with a worker


class Refusing:
    """A model that calls the reporter, then refuses the server's key until it is told to accept it."""

    def __init__(self, *wanted: Body) -> None:
        self.wanted = wanted
        self.refuses = True

    def __call__(self, body: Body) -> Body | int:
        results = tool_results(body)
        if not results:
            return calls(*self.wanted)
        return 401 if self.refuses else says(f"END {results}")


def agent_of(server: Live, model: str, **fields: Any) -> str:
    config = {"lm_provider": "openai", "lm_name": model, "hitl_enabled": True}
    return server.create_agent(agent_config=config, **fields)


def test_a_run_whose_model_failed_goes_on_where_it_stopped(
    server: Live, models: ModelServer, reporter: Event, world: Listener
) -> None:
    models.scripts["refuser"] = script = Refusing(tool_call("reporter", {"text": TEXT}, "call_1"))
    gate = {reporter["id"]: {"hitl": {"timeout_seconds": 60}, "listener": world.url}}
    agent = agent_of(server, "refuser", tools=[reporter["id"]], tool_configs=gate)
    stream = server.run(agent, "go")
    (asked,) = stream.await_pending()
    assert server.decide(asked["hitl"]["request_id"], "approved").status_code == 200
    failed = stream.finish()
    assert failed["task_state"] == "failed"
    ran = world.count(TEXT)
    path = f"/agents/{agent}/runs/{stream.run_id}"
    assert server.client.get(path).json()["data"]["resumable_until"]

    script.refuses = False
    answer = resume(server, agent, stream.run_id)
    assert (answer.status_code, answer.json()["data"]) == (200, {"id": stream.run_id, "status": "started"})
    again = resume(server, agent, stream.run_id)
    assert again.status_code == 409, again.text

    rest = follow(server, agent, stream.run_id, after=stream.ids[-1])
    last = rest.finish()
    assert last["content"].startswith("END")
    assert "resumed by master" in rest.events[0]["content"]
    assert world.count(TEXT) == ran == 1
    whole = follow(server, agent, stream.run_id)
    whole.ended()
    assert [event.get("is_final", False) for event in whole.events] == [False] * (len(whole.ids) - 1) + [True]
    # What the run failed of is still there, as a note that ends no client's reading.
    note = next(event for event in whole.events if event["content"] == failed["content"])
    assert note["metadata"]["kind"] == "status_update"
    shown = server.client.get(path).json()["data"]
    assert (shown["status"], shown["output"], "resumable_until" in shown) == ("success", whole.events, False)
    assert resume(server, agent, stream.run_id).status_code == 409


def test_what_a_sub_agent_did_before_its_leader_failed_is_not_repeated(
    server: Live, models: ModelServer, reporter: Event, world: Listener
) -> None:
    text = "done by the sub-agent"
    models.scripts["below"] = lambda body: (
        says(f"END {tool_results(body)}")
        if tool_results(body)
        else calls(tool_call("reporter", {"text": text}, "call_1"))
    )
    gate = {reporter["id"]: {"hitl": {"timeout_seconds": 60}, "listener": world.url}}
    worker = agent_of(server, "below", name="helper", tools=[reporter["id"]], tool_configs=gate)
    models.scripts["above"] = script = Refusing(tool_call("helper", {"task": "report"}, "call_1"))
    leader = agent_of(server, "above", agents=[worker])
    stream = server.run(leader, "go")
    (asked,) = stream.await_pending()
    server.decide(asked["hitl"]["request_id"], "approved")
    stream.finish()
    asked_below = len(models.sent_to("below"))

    script.refuses = False
    assert resume(server, leader, stream.run_id).status_code == 200
    assert text in follow(server, leader, stream.run_id).finish()["content"]
    assert world.count(text) == 1
    assert len(models.sent_to("below")) == asked_below


def test_a_run_that_ended_otherwise_is_not_resumed_and_the_answer_says_why(server: Live, reporter: Event) -> None:
    agent = server.create_agent(
        agent_config={"lm_provider": "rehearsal", "lm_name": "default", "hitl_enabled": True}, tools=[reporter["id"]]
    )
    stream = server.run(agent, "done")
    stream.finish()
    answer = resume(server, agent, stream.run_id)
    assert answer.status_code == 409
    assert "Only a failed run can be resumed. It succeeded at" in answer.json()["message"]
    assert resume(server, agent, "00000000-0000-0000-0000-000000000000").status_code == 404


# At the verbs, without a worker


def lose_its_model(run: Run) -> None:
    """As when the run's model fails while a worker executes the run, whatever its calls are at."""
    Run.objects.filter(pk=run.pk, status=RunStatus.WAITING).update(status=RunStatus.QUEUED)
    claimed = lifecycle.claim(run.pk)
    assert claimed
    lifecycle.fail(claimed[1], events.failed(run.pk, "the model is away", "model_failed"), is_resumable=True)


def checkpoints_of(run: Run) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM checkpoints WHERE thread_id = %s", [str(run.pk)])
        number: int = cursor.fetchone()[0]
    return number


@pytest.fixture
def parked(world: Listener, settings: Any) -> Run:
    """A run with four calls in one step, all of which wait."""
    settings.HITL_HOLD_SECONDS = 0
    run = start(gated_agent(world, "a", "b", "c", "d"))
    assert carried(run).status == RunStatus.WAITING
    return run


def looping_agent(world: Listener) -> Agent:
    tool = upload("reporter")
    return agent_catalog.create(name="looping", tools=[tool], tool_configs={str(tool.pk): {"listener": world.url}})


in_process = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


class TestRequestsOfAFailedRun:
    pytestmark = in_process

    def test_are_asked_about_again_unless_a_person_or_the_clock_closed_them(
        self, parked: Run, world: Listener, alice: User
    ) -> None:
        asked = requests(parked)
        decide(asked["a"], "approved", alice)  # and does not begin
        decide(asked["b"], "approved", alice)
        assert executions.claim_execution(asked["b"].pk)  # begins, and leaves no result
        decide(asked["c"], "rejected", alice)
        lose_its_model(parked)
        assert {name: r.status for name, r in requests(parked).items()}["d"] == Status.CANCELLED
        assert requests(parked)["b"].execution == Execution.UNKNOWN

        resumption.resume(parked.pk, by="alice")
        assert carried(parked).status == RunStatus.WAITING
        again = requests(parked)
        assert {name: (r.round, r.status) for name, r in again.items()} == {
            "a": (2, "pending"),
            "b": (2, "pending"),
            "c": (1, "rejected"),
            "d": (2, "pending"),
        }
        assert world.count(parked.input) == 0
        assert "the run failed before it began" in again["a"].reason
        assert "its outcome is unknown" in again["b"].reason
        assert "before this call was decided" in again["d"].reason
        for name in ("a", "b", "d"):
            decide(again[name], "approved", alice)
        assert carried(parked).status == RunStatus.SUCCEEDED
        assert world.count(parked.input) == 3
        rounds = ApprovalRequest.objects.filter(run_id=parked.pk, execution=Execution.FINISHED)
        assert sorted(rounds.values_list("tool_name", "round")) == [("a", 2), ("b", 2), ("d", 2)]

    def test_keep_what_an_operator_put_in_place_of_the_models_arguments(
        self, parked: Run, world: Listener, alice: User
    ) -> None:
        asked = requests(parked)["a"]
        edited = {"text": f"{parked.input}, edited"}
        approvals.decide(asked.pk, decision=Status.APPROVED, by=alice, source=Source.API, arguments=edited)
        lose_its_model(parked)
        resumption.resume(parked.pk, by="alice")
        carried(parked)
        again = requests(parked)["a"]
        assert (again.round, again.arguments, again.asked_arguments) == (2, edited, asked.arguments)

    def test_are_not_asked_again_where_the_tool_is_deleted_meanwhile(self, parked: Run) -> None:
        lose_its_model(parked)
        tool_catalog.delete(str(requests(parked)["a"].tool_id))
        resumption.resume(parked.pk, by="alice")
        assert carried(parked).status == RunStatus.WAITING
        assert {name: r.round for name, r in requests(parked).items()} == {"a": 1, "b": 2, "c": 2, "d": 2}

    def test_an_approval_from_before_the_failure_gives_no_right_to_run(self, parked: Run, alice: User) -> None:
        asked = requests(parked)["a"]
        decide(asked, "approved", alice)
        lose_its_model(parked)
        resumption.resume(parked.pk, by="alice")
        assert not executions.claim_execution(asked.pk)


class TestAResumedRun:
    pytestmark = in_process

    def test_has_as_many_steps_again(
        self, world: Listener, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generate = Rehearsal._generate

        def loop(self: Rehearsal, messages: Any, *args: Any, **kwargs: Any) -> Any:
            return generate(self, [m for m in messages if m.type == "human"], *args, **kwargs)

        monkeypatch.setattr(Rehearsal, "_generate", loop)
        monkeypatch.setattr("agents.loop.engine.MAX_STEPS", 4)
        run = start(looping_agent(world))
        assert carried(run).status == RunStatus.FAILED
        assert "more than 4 steps" in RunEvent.objects.get(run=run, key="end").payload["content"]
        ran = world.count(run.input)
        resumption.resume(run.pk, by="alice")
        assert carried(run).status == RunStatus.FAILED
        assert "more than 8 steps" in RunEvent.objects.get(run=run, key="end:1").payload["content"]
        results = RunEvent.objects.filter(run=run, key__startswith="result").count()
        assert 2 * ran <= results == world.count(run.input)

    def test_has_a_new_time_limit(self, world: Listener, settings: Any) -> None:
        settings.HITL_HOLD_SECONDS = 0
        run = start(gated_agent(world, agent_config={"timeout_seconds": 600}))
        carried(run)
        lose_its_model(run)
        Run.objects.filter(pk=run.pk).update(deadline_at=fresh(run).created_at)
        resumption.resume(run.pk, by="alice")
        deadline, created = fresh(run).deadline_at, fresh(run).created_at
        assert deadline
        assert deadline > created
        assert carried(run).status == RunStatus.WAITING

    def test_is_cancelled_before_a_worker_takes_it(self, parked: Run) -> None:
        lose_its_model(parked)
        resumption.resume(parked.pk, by="alice")
        lifecycle.cancel(parked.pk, by="alice")
        assert fresh(parked).status == RunStatus.CANCELLED
        assert RunEvent.objects.get(run=parked, key="end:1").payload["is_final"]
        assert checkpoints_of(parked) == 0
        with pytest.raises(NotResumable, match="It was cancelled"):
            resumption.resume(parked.pk, by="alice")

    def test_is_resumed_by_one_of_many_who_try(self, parked: Run) -> None:
        lose_its_model(parked)

        def attempt(_: int) -> bool:
            try:
                resumption.resume(parked.pk, by="alice")
            except NotResumable:
                return False
            finally:
                connection.close()
            return True

        assert sum(in_threads(8, attempt)) == 1
        assert fresh(parked).resumptions == 1

    def test_can_fail_and_be_resumed_again(self, parked: Run) -> None:
        for number in (1, 2):
            lose_its_model(parked)
            resumption.resume(parked.pk, by="alice")
            assert carried(parked).status == RunStatus.WAITING
            assert {r.round for r in requests(parked).values()} == {number + 1}


class TestTheEventsOfAResumedRun:
    pytestmark = in_process

    @pytest.mark.parametrize("batch", range(2, 12))
    def test_end_once_wherever_a_reading_ends(self, parked: Run, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
        lose_its_model(parked)
        resumption.resume(parked.pk, by="alice")
        lifecycle.cancel(parked.pk, by="alice")
        monkeypatch.setattr(stream, "BATCH", batch)

        async def read() -> list[str]:
            async with asyncio.timeout(20):
                return [frame async for frame in stream.follow(parked.pk, 0)]

        found = [frame for frame in asyncio.run(read()) if frame.startswith("id:")]
        total = RunEvent.objects.filter(run=parked).count()
        assert [int(frame.partition("\n")[0][4:]) for frame in found] == list(range(1, total + 1))
        assert ['"is_final": true' in frame for frame in found] == [False] * (total - 1) + [True]


class TestWhatAFailedRunKeeps:
    pytestmark = in_process

    def test_is_deleted_when_its_time_is_over(self, parked: Run) -> None:
        lose_its_model(parked)
        assert checkpoints_of(parked) > 0
        assert resumption.delete_expired() == 0
        Run.objects.filter(pk=parked.pk).update(resumable_until=parked.created_at)
        with pytest.raises(NotResumable, match="no longer kept"):
            resumption.resume(parked.pk, by="alice")
        assert resumption.delete_expired() == 1
        assert (checkpoints_of(parked), fresh(parked).resumable_until) == (0, None)

    @pytest.mark.parametrize("hours", [0, 72])
    def test_is_nothing_where_the_server_keeps_none_or_another_reason_ended_it(
        self, parked: Run, settings: Any, hours: int
    ) -> None:
        settings.KEEP_FAILED_HOURS = hours
        Run.objects.filter(pk=parked.pk).update(status=RunStatus.QUEUED)
        claimed = lifecycle.claim(parked.pk)
        assert claimed
        lifecycle.fail(claimed[1], events.failed(parked.pk, "a bug", "server_error"), is_resumable=hours == 0)
        assert (checkpoints_of(parked), fresh(parked).resumable_until) == (0, None)
        with pytest.raises(NotResumable, match="failed for another reason"):
            resumption.resume(parked.pk, by="alice")

    def test_is_shown_on_the_runs_page_with_a_button_that_resumes_it(
        self, parked: Run, admin_client: Client, client: Client
    ) -> None:
        lose_its_model(parked)
        page = f"/admin/agents/run/{parked.pk}/change/"
        url = f"/admin/agents/run/{parked.pk}/resume/"
        assert url in admin_client.get(page).content.decode()
        assert client.post(url).status_code == 302
        assert fresh(parked).status == RunStatus.FAILED
        assert admin_client.get(url).status_code == 405
        answer = admin_client.post(url, follow=True)
        assert "The run was resumed." in answer.content.decode()
        assert url not in answer.content.decode()
        answer = admin_client.post(url, follow=True)
        assert "goes on already" in answer.content.decode()

"""The wire contract of the published client, section 4.4: the runs of an agent, and one run."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.live import Live
from tests.model_server import ModelServer, says
from tests.test_contract import UNKNOWN_RUN, is_error, moment, source

Json = dict[str, Any]
STATUSES = {"started", "success", "failed", "cancelled", "aborted", "unavailable"}
FIELDS = {
    "id", "agent_id", "run_type", "schedule_id", "status", "started_at", "created_at", "updated_at", "completed_at",
    "input", "config",
}  # fmt: skip


def runs(server: Live, agent: str, **query: Any) -> Json:
    answer = server.client.get(f"/agents/{agent}/runs", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found["success"] is True
    return found


def one(server: Live, agent: str, run: str) -> Json:
    answer = server.client.get(f"/agents/{agent}/runs/{run}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True  # trap 10: in an envelope
    found: Json = answer.json()["data"]
    return found


@pytest.fixture(scope="module")
def greeter(server: Live) -> Json:
    made: Json = server.upload(source("history_greeter"), name="history_greeter")
    return made


@pytest.fixture(scope="module")
def busy(server: Live, greeter: Json) -> Any:
    """An agent with a run of every status, oldest first: succeeded, failed, cancelled, and one that waits."""
    gated = {"agent_config": {"hitl_enabled": True}, "tool_configs": {greeter["id"]: {"hitl": {}}}}
    agent = server.create_agent(tools=[greeter["id"]])
    made = [server.run(agent, "Answer one")]
    made[0].finish()
    failing = {"agent_config": {"lm_provider": "acme", "lm_name": "one"}}
    made.append(server.run(agent, "Answer two", runtime_config=failing))
    made[1].finish()
    for text in ("three", "four"):
        made.append(server.run(agent, text, runtime_config=gated))
        made[-1].await_pending()
    assert server.client.post(f"/agents/{agent}/runs/{made[2].run_id}/cancel").status_code == 200
    yield agent, [stream.run_id for stream in made]
    server.client.post(f"/agents/{agent}/runs/{made[3].run_id}/cancel")


def test_4_4_runs_come_newest_first_with_the_contracts_fields_alone(server: Live, busy: Any) -> None:
    agent, made = busy
    found = runs(server, agent)
    assert [run["id"] for run in found["data"]] == made[::-1]
    assert (found["total"], found["page"], found["limit"]) == (4, 1, 20)
    assert (found["has_next"], found["has_prev"]) == (False, False)
    for run in found["data"]:
        assert set(run) == FIELDS
        assert UUID(run["id"])
        assert (run["agent_id"], run["run_type"], run["schedule_id"]) == (agent, "manual", None)
        assert moment(run["created_at"]) <= moment(run["started_at"]) <= moment(run["updated_at"])
        assert run["completed_at"] is None or moment(run["completed_at"]) >= moment(run["started_at"])
    assert [run["input"] for run in found["data"]] == ["four", "three", "Answer two", "Answer one"]


def test_4_4_a_status_is_one_of_the_wires_words_and_a_run_that_waits_is_started(server: Live, busy: Any) -> None:
    """Trap 9."""
    agent, made = busy
    found = {run["id"]: run for run in runs(server, agent)["data"]}
    assert [found[run]["status"] for run in made] == ["success", "failed", "cancelled", "started"]
    assert [found[run]["completed_at"] is None for run in made] == [False, False, False, True]


@pytest.mark.parametrize(
    ("status", "number"),
    [("success", 1), ("failed", 1), ("cancelled", 1), ("started", 1), ("aborted", 0), ("unavailable", 0)],
)
def test_4_4_runs_are_filtered_by_status(server: Live, busy: Any, status: str, number: int) -> None:
    found = runs(server, busy[0], status=status)
    assert (found["total"], [run["status"] for run in found["data"]]) == (number, [status] * number)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"run_type": "manual"}, 4),
        ({"run_type": "schedule"}, 0),
        ({"schedule_id": str(uuid4())}, 0),
        ({"run_type": "manual", "schedule_id": str(uuid4())}, 0),
        ({"run_type": "", "status": "", "schedule_id": ""}, 4),
        ({"whatever": "1"}, 4),
    ],
)
def test_4_4_no_run_is_scheduled(server: Live, busy: Any, query: Json, number: int) -> None:
    found = runs(server, busy[0], **query)
    assert (found["total"], len(found["data"])) == (number, number)


def test_4_4_has_next_and_has_prev_are_exact_and_beyond_the_end_there_is_nothing(server: Live, busy: Any) -> None:
    agent, made = busy
    pages = [runs(server, agent, limit=2, page=page) for page in (1, 2, 3, 1_000_000)]
    assert [[run["id"] for run in page["data"]] for page in pages] == [made[:1:-1], made[1::-1], [], []]
    assert [(page["has_next"], page["has_prev"]) for page in pages] == [
        (True, False), (False, True), (False, True), (False, True)
    ]  # fmt: skip
    assert {(page["total"], page["limit"]) for page in pages} == {(4, 2)}
    for limit in (1, 3, 4, 5, 100):
        page = runs(server, agent, limit=limit)
        assert page["has_next"] is (page["page"] * page["limit"] < page["total"])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        *((f"limit={value}", "limit must be") for value in ("0", "101", "-1", "x", "1.5", "9" * 5000)),
        *((f"page={value}", "page must be") for value in ("0", "-1", "x", "9" * 5000)),
        *(
            (f"status={value}", "status must be one of started")
            for value in ("paused", "waiting", "SUCCESS", "running")
        ),
        ("run_type=automatic", "run_type must be one of manual, schedule"),
        ("schedule_id=7", "schedule_id must be"),
        ("status=%00", "NUL"),
    ],
)
def test_4_4_a_query_that_cannot_be_read_is_400(server: Live, busy: Any, query: str, words: str) -> None:
    assert words in is_error(server.client.get(f"/agents/{busy[0]}/runs?{query}"), 400)


def test_4_4_an_agent_without_runs_has_an_empty_page(server: Live) -> None:
    found = runs(server, server.create_agent())
    assert (found["data"], found["total"], found["has_next"]) == ([], 0, False)


def test_4_4_a_run_has_the_events_that_its_stream_told_in_their_order(server: Live, greeter: Json) -> None:
    agent = server.create_agent(tools=[greeter["id"]])
    stream = server.run(agent, "Bob")
    stream.finish()
    found = one(server, agent, stream.run_id)
    assert found.pop("output") == stream.events
    assert set(found) == FIELDS
    assert found == runs(server, agent)["data"][0]


def test_4_4_a_run_under_way_has_its_events_so_far(server: Live, busy: Any) -> None:
    agent, made = busy
    output = one(server, agent, made[3])["output"]
    assert output[-1]["metadata"]["hitl"]["decision"] == "pending"
    assert output[0]["metadata"]["run_id"] == made[3]


def test_4_4_usage_is_what_the_model_counted(server: Live, models: ModelServer) -> None:
    models.scripts["counter"] = lambda _: says("Counted.")
    agent = server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "counter"})
    stream = server.run(agent, "go")
    stream.finish()
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert one(server, agent, stream.run_id)["total_usage"] == usage


def test_4_4_config_is_the_runtime_config_that_was_given(server: Live, greeter: Json) -> None:
    agent = server.create_agent(tools=[greeter["id"]])
    config = {"agent_config": {"own": [1, {"a": None}]}, "tool_configs": {greeter["id"]: {"timeout_seconds": 5}}}
    server.run(agent, "Answer", runtime_config=config).finish()
    server.run(agent, "Answer").finish()
    assert [run["config"] for run in runs(server, agent)["data"]] == [None, config]


def test_4_4_an_unknown_run_is_404_and_so_is_another_agents(server: Live, busy: Any) -> None:
    agent, made = busy
    for run in (UNKNOWN_RUN, "no-uuid", "%00"):
        is_error(server.client.get(f"/agents/{agent}/runs/{run}"), 404)
    is_error(server.client.get(f"/agents/{server.create_agent()}/runs/{made[0]}"), 404)


def test_4_4_the_runs_of_a_deleted_agent_can_still_be_read(server: Live) -> None:
    agent = server.create_agent()
    stream = server.run(agent, "Answer")
    stream.finish()
    server.client.delete(f"/agents/{agent}")
    assert [run["id"] for run in runs(server, agent)["data"]] == [stream.run_id]
    assert one(server, agent, stream.run_id)["output"] == stream.events

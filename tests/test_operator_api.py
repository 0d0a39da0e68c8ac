"""What a decision over REST may carry beyond the contract, and more time for what waits."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.listener import Listener
from tests.live import Live, Stream
from tests.test_contract import UNKNOWN, is_error, source

Json = dict[str, Any]
DECISION = "/agents/hitl/decision"


@pytest.fixture(scope="module")
def greeter(server: Live) -> Json:
    return server.upload(source("operator_greeter"), name="operator_greeter")


@pytest.fixture(scope="module")
def agent(server: Live, greeter: Json) -> str:
    return server.create_agent(
        name="operated",
        tools=[greeter["id"]],
        agent_config={"hitl_enabled": True},
        tool_configs={greeter["id"]: {"hitl": {"timeout_seconds": 120}, "destructive": True}},
    )


class Asked:
    """A run whose one call waits: a greeting of "Jane", once."""

    def __init__(self, server: Live, agent: str) -> None:
        self.server = server
        self.stream: Stream = server.run(agent, "Jane")
        self.id: str = self.stream.await_pending()[0]["hitl"]["request_id"]

    @property
    def listed(self) -> Json:
        (entry,) = [entry for entry in self.server.pending() if entry["request_id"] == self.id]
        return entry

    def decide(self, **body: Any) -> Any:
        return self.server.client.post(DECISION, json={"request_id": self.id, **body})

    def extend(self, **body: Any) -> Any:
        return self.server.client.post(f"/agents/hitl/requests/{self.id}/extend", json=body)


@pytest.fixture(scope="module")
def waiting(server: Live, agent: str) -> Iterator[Asked]:
    """Waits while the module's tests fail to decide it."""
    asked = Asked(server, agent)
    yield asked
    assert asked.decide(decision="skipped").status_code == 200
    asked.stream.finish()


def test_edited_arguments_run_and_the_answer_says_so_beforehand(server: Live, agent: str) -> None:
    asked = Asked(server, agent)
    edited = {"name": "Jane Doe", "times": 2}
    body = asked.decide(decision="approved", arguments=edited, seal=asked.listed["seal"]).json()
    assert {key: body[key] for key in ("status", "request_id", "decision", "arguments", "answer")} == {
        "status": "ok",
        "request_id": asked.id,
        "decision": "approved",
        "arguments": edited,
        "answer": None,
    }
    final = asked.stream.finish()
    result = asked.stream.result(asked.id)
    assert result["content"] == "Hello, Jane Doe! Hello, Jane Doe!"
    assert result["metadata"]["tool_info"]["args"] == edited
    assert result["metadata"]["hitl"]["seal"] == body["seal"]
    assert "The operator changed the arguments" in final["content"]


@pytest.mark.parametrize("word", ["approved", "rejected", "skipped"])
def test_a_plain_decision_echoes_what_will_run(server: Live, agent: str, word: str) -> None:
    asked = Asked(server, agent)
    listed = asked.listed
    body = asked.decide(decision=word, arguments=None, answer=None, seal=None).json()
    runs = word == "approved"
    assert (body["status"], body["message"]) == ("ok", f"The request was {word}.")
    assert body["arguments"] == (listed["arguments"] if runs else None)
    assert body["seal"] == (listed["seal"] if runs else None)
    asked.stream.finish()


def test_an_answer_takes_the_tools_place(server: Live, agent: str) -> None:
    asked = Asked(server, agent)
    body = asked.decide(decision="skipped", answer="She was greeted already.").json()
    assert (body["decision"], body["answer"], body["arguments"]) == ("skipped", "She was greeted already.", None)
    assert "She was greeted already." in asked.stream.finish()["content"]
    event = asked.stream.result(asked.id)
    assert event["content"] == "She was greeted already."
    assert (event["metadata"]["hitl"]["decision"], event["metadata"]["hitl"]["answered"]) == ("skipped", True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"decision": "approved", "answer": "x"}, "answer: An answer goes with 'skipped' alone"),
        ({"decision": "rejected", "answer": "x"}, "answer: An answer goes with 'skipped' alone"),
        ({"decision": "rejected", "arguments": {}}, "arguments: Arguments go with 'approved' alone"),
        ({"decision": "skipped", "arguments": {"name": "Bob"}}, "arguments: Arguments go with 'approved' alone"),
        ({"decision": "skipped", "answer": ""}, "answer: An answer needs a text"),
        ({"decision": "skipped", "answer": "  "}, "answer: "),
        ({"decision": "skipped", "answer": "x" * 100_001}, "answer: "),
        *(({"decision": "skipped", "answer": value}, "answer: ") for value in (1, True, [], {})),
        (
            {"decision": "approved", "arguments": {"name": "Bob", "times": 4}},
            "arguments.times: Input should be less than",
        ),
        ({"decision": "approved", "arguments": {"name": 1}}, "arguments.name: Input should be a valid string"),
        ({"decision": "approved", "arguments": {"times": 1}}, "arguments.name: Field required"),
        ({"decision": "approved", "arguments": {"name": "Bob", "loud": True}}, "arguments.loud: The tool has no"),
        *(({"decision": "approved", "arguments": value}, "arguments: ") for value in (1, "x", [], True)),
        *(({"decision": "approved", "seal": value}, "seal: ") for value in (1, "", "abc", "x" * 64, "0" * 65, [])),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_extras_that_make_no_sense_are_400_and_the_request_waits_on(waiting: Asked, body: Json, words: str) -> None:
    assert words in is_error(waiting.decide(**body), 400)
    assert waiting.listed


@pytest.mark.parametrize("seal", ["00000000", "0" * 64])
def test_a_stale_seal_is_409_with_the_reason_and_the_request_waits_on(waiting: Asked, seal: str) -> None:
    message = is_error(waiting.decide(decision="approved", seal=seal), 409)
    assert waiting.listed["seal"] in message
    assert "Nothing was decided" in message


def test_the_list_says_what_is_destructive(waiting: Asked) -> None:
    assert waiting.listed["destructive"] is True


def test_the_request_names_who_started_its_run(server: Live, waiting: Asked) -> None:
    sql = "SELECT requester FROM hitl_approvalrequest WHERE id = %s"
    assert server.rows(sql, waiting.id) == [("master",)]


# POST /agents/hitl/requests/{id}/extend


def test_more_time_moves_the_deadline_and_makes_no_new_request(server: Live, agent: str, world: Listener) -> None:
    asked = Asked(server, agent)
    before = asked.listed["hitl_metadata"]
    body = asked.extend(seconds=60).json()
    after = asked.listed["hitl_metadata"]
    assert (body["status"], body["request_id"], body["timeout_seconds"]) == ("ok", asked.id, 180)
    assert (after["timeout_at"], after["timeout_seconds"]) == (body["timeout_at"], 180)
    moved = datetime.fromisoformat(after["timeout_at"]) - datetime.fromisoformat(before["timeout_at"])
    assert moved.total_seconds() == 60
    rows = server.rows("SELECT extended_by_name, seconds, source FROM hitl_extension WHERE request_id = %s", asked.id)
    assert rows == [("master", 60, "api")]
    asked.decide(decision="skipped")
    asked.stream.finish()
    assert len(asked.stream.pendings()) == 1
    assert "already skipped by master" in is_error(asked.extend(seconds=60), 409)


@pytest.mark.parametrize("seconds", [..., None, 0, -1, 1.5, "soon", [], 31_536_001, 31_536_000 - 119, 10**30])
def test_an_extension_that_makes_no_sense_is_400(waiting: Asked, seconds: Any) -> None:
    before = waiting.listed
    body = {} if seconds is ... else {"seconds": seconds}
    assert "seconds: " in is_error(waiting.extend(**body), 400)
    assert waiting.listed == before


@pytest.mark.parametrize("request_id", [UNKNOWN, "no-uuid"])
def test_an_unknown_request_is_not_extended(server: Live, request_id: str) -> None:
    is_error(server.client.post(f"/agents/hitl/requests/{request_id}/extend", json={"seconds": 5}), 404)

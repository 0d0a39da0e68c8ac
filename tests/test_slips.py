"""When a model slips, the run goes on: what it cannot mean is told to it, and what its server does is told of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.live import Event, Live, Stream, eventually
from tests.model_server import Body, ModelServer, Raw, calls, says, tool_call, tool_results


def agent(server: Live, model: str, tool: Event, *, gated: bool = True, **fields: Any) -> str:
    config = {"lm_provider": "openai", "lm_name": model, "hitl_enabled": True}
    gate = {"tool_configs": {tool["id"]: {"hitl": {"timeout_seconds": 60}}}} if gated else {}
    return server.create_agent(agent_config=config, tools=[tool["id"]], **gate, **fields)


def in_turn(*answers: Body | Raw | int) -> Callable[[Body], Body | Raw | int]:
    """Each answer once, then the results of all calls."""

    def script(body: Body) -> Body | Raw | int:
        number = sum(message["role"] == "assistant" for message in body["messages"])
        return answers[number] if number < len(answers) else says(f"END {tool_results(body)}")

    return script


def results(stream: Stream) -> list[tuple[str, str]]:
    return [
        (event["metadata"]["status"], event["content"])
        for event in stream.events
        if event.get("event_type") == "tool_result"
    ]


def only_pending(server: Live, stream: Stream) -> Event:
    return eventually(lambda: next((p for p in server.pending() if p["run_id"] == stream.run_id), None))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"text": "hal', "cut off"),
        ('{"text": "half"', "cut off"),
        ('{"text": "a"}{"text": "b"}', "more than one"),
        ('["a"]', "a list"),
        ('"a"', "a text"),
        ("null", "null"),
        ("3", "a number"),
        ("{'text': 'a'}", "not JSON"),
        ('{"text": NaN}', "number that JSON cannot hold"),
        ('{"text": 1e999}', "number that JSON cannot hold"),
    ],
)
def test_a_call_that_cannot_be_read_is_told_to_the_model_and_nobody_is_asked(
    server: Live, models: ModelServer, reporter: Event, arguments: str, why: str
) -> None:
    models.scripts["mumbler"] = in_turn(calls(tool_call("reporter", arguments, "call_1")))
    stream = server.run(agent(server, "mumbler", reporter), "go")
    assert stream.finish()["status"] == "success"
    ((status, content),) = results(stream)
    assert status == "failed"
    assert "did not run" in content
    assert why in content
    assert server.rows("SELECT count(*) FROM hitl_approvalrequest WHERE run_id = %s", stream.run_id) == [(0,)]
    # What goes back is JSON that every provider takes.
    sent = models.sent_to("mumbler")[-1]["messages"]
    (asked,) = [call for message in sent for call in message.get("tool_calls") or []]
    assert json.loads(asked["function"]["arguments"]) == {}


def test_beside_a_call_that_cannot_be_read_its_sibling_is_asked_about_and_runs(
    server: Live, models: ModelServer, reporter: Event
) -> None:
    both = calls(tool_call("reporter", '{"text": "x', "call_1"), tool_call("reporter", {"text": "whole"}, "call_2"))
    models.scripts["half"] = in_turn(both)
    stream = server.run(agent(server, "half", reporter), "go")
    request = only_pending(server, stream)
    assert request["arguments"] == {"text": "whole"}
    server.decide(request["request_id"], "skipped")
    assert stream.finish()["status"] == "success"
    unread, skipped = tool_results(models.sent_to("half")[-1])
    assert "cut off" in unread
    assert "skipped" in skipped


def test_the_model_corrects_itself(server: Live, models: ModelServer, reporter: Event) -> None:
    models.scripts["learner"] = in_turn(
        calls(tool_call("reporter", '{"text": "on', "call_1")), calls(tool_call("reporter", {"text": "one"}, "call_2"))
    )
    stream = server.run(agent(server, "learner", reporter), "go")
    server.decide(only_pending(server, stream)["request_id"], "skipped")
    assert stream.finish()["status"] == "success"
    assert ["cut off" in text for _, text in results(stream)] == [True, False]


def test_a_sub_agents_model_slips_too(server: Live, models: ModelServer, reporter: Event) -> None:
    models.scripts["below"] = in_turn(calls(tool_call("reporter", '{"text": ', "call_1")))
    models.scripts["above"] = in_turn(
        calls(tool_call("below", "[]", "call_1")), calls(tool_call("below", {"task": "go"}, "call_2"))
    )
    sub = agent(server, "below", reporter, name="below")
    config = {"lm_provider": "openai", "lm_name": "above"}
    stream = server.run(server.create_agent(agent_config=config, agents=[sub]), "go")
    final = stream.finish()
    assert final["status"] == "success"
    assert "a list" in final["content"]
    assert "cut off" in final["content"]


def test_names_and_ids_that_no_provider_takes_are_replaced(server: Live, models: ModelServer, reporter: Event) -> None:
    same = [tool_call(name, {"text": name}, "same") for name in ("", "functions.reporter", "what ever?", "reporter")]
    models.scripts["careless"] = in_turn(calls(*same), calls(tool_call("reporter", {"text": "z"}, "same")))
    stream = server.run(agent(server, "careless", reporter, gated=False), "go")
    assert stream.finish()["status"] == "success"
    sent = models.sent_to("careless")[-1]["messages"]
    asked = [call for message in sent for call in message.get("tool_calls") or []]
    assert [call["function"]["name"] for call in asked] == ["unnamed", "reporter", "what_ever", "reporter", "reporter"]
    ids = [call["id"] for call in asked]
    assert len(set(ids)) == len(ids)
    assert ids == [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    told = tool_results(models.sent_to("careless")[-1])
    assert ["not a valid tool" in text for text in told] == [True, False, True, False, False]


@pytest.mark.parametrize(("reason", "words"), [("length", "cut off here"), ("content_filter", "content filter")])
def test_an_answer_that_is_not_whole_says_so(server: Live, models: ModelServer, reason: str, words: str) -> None:
    models.scripts["short"] = lambda _: says("The steps are: first") | {"finish_reason": reason}
    stream = server.run(server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "short"}), "go")
    final = stream.finish()
    assert final["metadata"]["finish_reason"] == reason
    assert final["content"].startswith("The steps are: first\n\n[")
    assert words in final["content"]


def test_the_event_of_calls_says_that_the_answer_was_cut(server: Live, models: ModelServer, reporter: Event) -> None:
    models.scripts["cutter"] = in_turn(
        calls(tool_call("reporter", '{"text": "o', "call_1")) | {"finish_reason": "length"}
    )
    stream = server.run(agent(server, "cutter", reporter), "go")
    assert "finish_reason" not in stream.finish()["metadata"]
    asked = next(event for event in stream.events if event.get("event_type") == "tool_call")
    assert asked["metadata"]["finish_reason"] == "length"


def test_the_text_of_a_refusal_is_the_answer(server: Live, models: ModelServer) -> None:
    models.scripts["decliner"] = lambda _: says("") | {"refusal": "I cannot help with that."}
    stream = server.run(server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "decliner"}), "go")
    assert stream.finish()["content"] == "I cannot help with that."


def failure(server: Live, models: ModelServer, answer: Raw) -> str:
    models.scripts["broken"] = lambda _: answer
    agent_id = server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "broken"})
    final = server.run(agent_id, "go").finish()
    assert final["status"] == "error"
    return str(final["content"])


WHOLE = {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "hi"}}]}


@pytest.mark.parametrize(
    "answer",
    [
        Raw(""),
        Raw("data: [DONE]\n\n", kind="text/event-stream"),
        Raw("<html>gateway</html>", kind="text/html"),
        Raw(WHOLE),
    ],
    ids=["empty", "no stream", "html", "not streamed"],
)
def test_an_answer_in_which_nothing_came_names_the_model(server: Live, models: ModelServer, answer: Raw) -> None:
    said = failure(server, models, answer)
    assert "openai/broken gave no answer" in said
    assert "check OPENAI_BASE_URL" in said


def refused(message: str, code: Any = None, status: int = 400) -> Raw:
    return Raw({"error": {"message": message, "type": "invalid_request_error", "code": code}}, status)


@pytest.mark.parametrize(
    ("answer", "is_too_long"),
    [
        (refused("Too much.", "context_length_exceeded"), True),
        (refused("This model's maximum context length is 8192 tokens, your messages have 9000."), True),
        (refused("the request exceeds the available context size."), True),
        (refused("The input token count (11) exceeds the maximum number of tokens allowed (10)."), True),
        (refused("prompt is too long: 210000 tokens > 200000 maximum"), True),
        (refused("Unknown parameter: 'context_length'."), False),
        (refused("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), False),
        (refused("The key is too long."), False),
    ],
)
def test_a_conversation_that_is_too_long_is_told_as_that(
    server: Live, models: ModelServer, answer: Raw, *, is_too_long: bool
) -> None:
    said = failure(server, models, answer)
    assert ("longer than it can read" in said) is is_too_long
    assert is_too_long or "lm_hyperparameters" in said


def test_a_model_that_is_busy_is_asked_again_when_it_says(server: Live, models: ModelServer) -> None:
    busy = iter([refused("Slow down.", status=429), refused("Oh.", status=503), refused("Oh.", status=500)])
    answers = (Raw(each.body, each.status, headers={"Retry-After": "0.1"}) for each in busy)
    models.scripts["busy"] = lambda _: next(answers, says("At last."))
    agent_id = server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "busy"})
    assert server.run(agent_id, "go").finish()["content"] == "At last."
    assert len(models.sent_to("busy")) == 4


def test_a_model_that_wants_more_time_than_there_is_is_not_waited_for(server: Live, models: ModelServer) -> None:
    later = Raw({"error": {"message": "Later."}}, 429, headers={"Retry-After": "61"})
    models.scripts["resting"] = lambda _: later
    agent_id = server.create_agent(agent_config={"lm_provider": "openai", "lm_name": "resting"})
    assert "too many requests" in server.run(agent_id, "go").finish()["content"]
    assert len(models.sent_to("resting")) == 1


def test_after_two_rejections_the_same_call_is_not_asked_about_again(
    server: Live, models: ModelServer, reporter: Event
) -> None:
    same = [calls(tool_call("reporter", {"text": "again"}, f"call_{number}")) for number in range(3)]
    models.scripts["stubborn"] = in_turn(*same, calls(tool_call("reporter", {"text": "other"}, "call_4")))
    stream = server.run(agent(server, "stubborn", reporter), "go")
    seen: set[str] = set()
    for word in ("rejected", "rejected", "skipped"):
        request = eventually(
            lambda: next(
                (p for p in server.pending() if p["run_id"] == stream.run_id and p["request_id"] not in seen), None
            )
        )
        seen.add(request["request_id"])
        assert request["arguments"] == {"text": "again" if word == "rejected" else "other"}
        server.decide(request["request_id"], word)
    assert stream.finish()["status"] == "success"
    third = results(stream)[2]
    assert third[0] == "failed"
    assert "rejected exactly this call 2 times" in third[1]


def test_a_rejection_can_stop_the_run(server: Live, models: ModelServer, reporter: Event) -> None:
    both = calls(tool_call("reporter", {"text": "a"}, "call_1"), tool_call("reporter", {"text": "b"}, "call_2"))
    models.scripts["reckless"] = in_turn(both)
    stream = server.run(agent(server, "reckless", reporter), "go")
    waiting = eventually(
        lambda: found if len(found := [p for p in server.pending() if p["run_id"] == stream.run_id]) == 2 else []
    )
    body = {"request_id": waiting[0]["request_id"], "stop_run": True, "operator_input": "Too risky."}
    refused_word = server.client.post("/agents/hitl/decision", json=body | {"decision": "skipped"})
    assert refused_word.status_code == 400
    assert "stop_run" in refused_word.text
    assert server.client.post("/agents/hitl/decision", json=body | {"decision": "rejected"}).status_code == 200
    final = stream.finish()
    assert final["metadata"]["status"] == "cancelled"
    assert (final["error_code"], final["category"]) == ("rejected_and_stopped", "cancelled")
    assert "who rejected its call of reporter. Too risky." in final["content"]
    assert server.status(stream.run_id) == "cancelled"
    rows = server.rows("SELECT id, status FROM hitl_approvalrequest WHERE run_id = %s", stream.run_id)
    assert {str(pk): status for pk, status in rows} == {
        waiting[0]["request_id"]: "rejected",
        waiting[1]["request_id"]: "cancelled",
    }
    again = server.client.post("/agents/hitl/decision", json=body | {"decision": "rejected"})
    assert again.status_code == 409

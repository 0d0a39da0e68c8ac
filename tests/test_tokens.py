"""What a model says comes as it says it, between the events, and is never all that says it."""

import time
from typing import Any

from tests.live import Event, Live, Stream
from tests.model_server import ModelServer, calls, says, tool_call, tool_results

# By then a stream listens. What is said before is not heard, and stands in the last event.
LISTENS_SECONDS = 0.4
TEXT = "One two three four five six seven eight nine ten. "


def agent(server: Live, model: str, **fields: Any) -> str:
    return server.create_agent(agent_config={"lm_provider": "openai", "lm_name": model}, **fields)


def kind(event: Event) -> str:
    return str(event["metadata"]["kind"])


def tokens(stream: Stream) -> list[str]:
    return [event["content"] for event in stream.events if kind(event) == "token"]


def test_a_model_is_heard_while_it_speaks_and_the_last_event_has_it_all(server: Live, models: ModelServer) -> None:
    models.scripts["speaker"] = lambda _: says(TEXT * 3)
    models.pauses["speaker"] = 0.03
    stream = server.run(agent(server, "speaker"), "speak")
    final = stream.finish()
    assert final["content"] == TEXT * 3
    assert "".join(tokens(stream)) == TEXT * 3
    # Thirty words in about a second, sent together where they came together.
    assert 4 <= len(tokens(stream)) <= 20
    assert [kind(e) for e in stream.events if kind(e) != "token"] == [
        "run_info",
        "agent_step",
        "usage",
        "final_response",
    ]
    # They have no number, so a stream that is joined again goes on after what has one.
    assert stream.ids == [1, 2, 3, 4]
    assert all(not event.get("is_final") for event in stream.events[:-1])
    assert final["metadata"]["total_usage"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def test_what_is_heard_is_not_kept(server: Live, models: ModelServer) -> None:
    models.scripts["forgotten"] = lambda _: says(TEXT)
    stream = server.run(agent_id := agent(server, "forgotten"), "speak")
    final = stream.finish()
    again = server.join(agent_id, stream.run_id)
    assert again.finish() == final
    assert tokens(again) == []
    assert server.rows("SELECT count(*) FROM agents_runevent WHERE run_id = %s", stream.run_id) == [(4,)]


def test_the_words_before_a_call_come_before_it(server: Live, models: ModelServer, reporter: Event) -> None:
    wanted = calls(tool_call("reporter", {"text": "said", "more": "x" * 50}, "call_1")) | {"content": "I will report."}
    models.scripts["polite"] = lambda body: says("Done.") if tool_results(body) else wanted
    models.pauses["polite"] = LISTENS_SECONDS
    stream = server.run(agent(server, "polite", tools=[reporter["id"]]), "go")
    assert stream.finish()["content"] == "Done."
    told = [(kind(e), e["content"]) for e in stream.events if kind(e) in ("token", "agent_thinking_step")]
    said = [content for what, content in told if what == "token"]
    assert "".join(said) == "I will report.Done."
    first_call = next(i for i, (what, _) in enumerate(told) if what == "agent_thinking_step")
    assert "".join(content for _, content in told[:first_call]) == "I will report."
    assert told[-1][0] == "token"


def test_a_call_that_breaks_off_is_not_completed_by_guessing(
    server: Live, models: ModelServer, reporter: Event
) -> None:
    """LangChain would run it with the half of its arguments that came."""
    models.scripts["cut"] = lambda body: (
        says("Done.") if tool_results(body) else calls(tool_call("reporter", '{"text": "only hal', "call_1"))
    )
    stream = server.run(agent(server, "cut", tools=[reporter["id"]]), "go")
    assert stream.finish()["content"] == "Done."
    (result,) = tool_results(models.sent_to("cut")[-1])
    assert "did not run" in result
    assert "cut off" in result


def test_a_sub_agent_speaks_in_its_result_alone(server: Live, models: ModelServer) -> None:
    models.scripts["sub"] = lambda _: says("Said below.")
    models.scripts["top"] = lambda body: (
        says("Said on top.") if tool_results(body) else calls(tool_call("sub", {"task": "speak"}, "call_1"))
    )
    models.pauses["top"] = LISTENS_SECONDS
    sub = agent(server, "sub", name="sub")
    stream = server.run(agent(server, "top", agents=[sub]), "go")
    final = stream.finish()
    assert final["content"] == "Said on top."
    assert "".join(tokens(stream)) == "Said on top."
    assert tool_results(models.sent_to("top")[-1]) == ["Said below."]
    # Three times asked, two models.
    assert final["metadata"]["total_usage"] == {"input_tokens": 30, "output_tokens": 15, "total_tokens": 45}


def test_a_reader_who_comes_late_hears_what_is_said_from_then_on(server: Live, models: ModelServer) -> None:
    models.scripts["long"] = lambda _: says(TEXT * 3)
    models.pauses["long"] = 0.05
    first = server.run(agent_id := agent(server, "long"), "speak")
    time.sleep(0.7)
    late = server.join(agent_id, first.run_id)
    assert first.finish()["content"] == late.finish()["content"] == TEXT * 3
    heard = "".join(tokens(late))
    assert heard
    assert (TEXT * 3).endswith(heard)


def test_a_model_that_speaks_on_and_on_is_ended_in_time(server: Live, models: ModelServer) -> None:
    models.scripts["endless"] = lambda _: says(TEXT * 10)
    models.pauses["endless"] = 0.2
    began = time.monotonic()
    stream = server.run(agent(server, "endless"), "speak")
    assert "did not answer in time" in stream.finish()["content"]
    assert time.monotonic() - began < 10


def test_a_model_that_only_says_that_it_is_alive_is_ended_in_time(server: Live, models: ModelServer) -> None:
    models.scripts["thinking"] = lambda _: says(TEXT)
    models.delays["thinking"] = 12
    began = time.monotonic()
    stream = server.run(agent(server, "thinking"), "speak")
    assert "did not answer in time" in stream.finish()["content"]
    assert time.monotonic() - began < 10


def test_a_sub_agents_model_that_speaks_on_and_on_is_ended_in_time(server: Live, models: ModelServer) -> None:
    models.scripts["endless below"] = lambda _: says(TEXT * 10)
    models.pauses["endless below"] = 0.2
    models.scripts["patient"] = lambda body: (
        says(tool_results(body)[0]) if tool_results(body) else calls(tool_call("below", {"task": "speak"}, "call_1"))
    )
    below = agent(server, "endless below", name="below")
    began = time.monotonic()
    stream = server.run(agent(server, "patient", agents=[below]), "go")
    assert "did not answer in time" in stream.finish()["content"]
    assert time.monotonic() - began < 10

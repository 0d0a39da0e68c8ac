"""The documented workflow, over HTTP, with a real worker."""

import json
import os
from typing import Any

import psutil
import pytest

from agents.sandbox import landlock
from aip.launcher import embedded
from tests.listener import Listener
from tests.live import OPENAI_KEY, Live
from tests.model_server import Body, ModelServer, calls, says, tool_call, tool_results

Tool = dict[str, Any]


def gated(tool: Tool, world: Listener, **more: Any) -> dict[str, Any]:
    return {tool["id"]: {"hitl": {"timeout_seconds": 180}, "listener": world.url, **more}}


def once(name: str, arguments: Body) -> Any:
    """A script: one call of the tool, then an answer with what it heard."""

    def script(body: Body) -> Body:
        heard = tool_results(body)
        return says(f"Done: {heard[0]}") if heard else calls(tool_call(name, arguments, "call_1"))

    return script


def openai_agent(server: Live, tool: Tool, model: str, configs: dict[str, Any], **fields: Any) -> str:
    return server.create_agent(
        tools=[tool["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": model},
        tool_configs=configs,
        **fields,
    )


@pytest.mark.parametrize("word", ["approved", "rejected", "skipped"])
def test_a_decision_does_what_it_says_and_the_model_hears_the_operators_words(
    server: Live, models: ModelServer, reporter: Tool, world: Listener, word: str
) -> None:
    text, note = f"please act ({word})", f"my words about {word}"
    models.scripts[word] = once("reporter", {"text": text})
    stream = server.run(openai_agent(server, reporter, word, gated(reporter, world)), "go")
    (asked,) = stream.await_pending()
    request_id = asked["hitl"]["request_id"]
    assert asked["tool_info"]["args"] == {"text": text}
    assert world.count(text) == 0

    answer = server.decide(request_id, word, note)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")

    final = stream.finish()
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == word
    assert world.count(text) == (1 if word == "approved" else 0)
    (heard,) = tool_results(models.sent_to(word)[-1])
    assert note in heard
    assert final["metadata"]["kind"] == "final_response"
    assert final["content"].startswith("Done: ")


def test_nobody_decides_so_the_call_is_skipped(
    server: Live, models: ModelServer, reporter: Tool, world: Listener
) -> None:
    models.scripts["slow"] = once("reporter", {"text": "nobody looked"})
    configs = {reporter["id"]: {"hitl": {"timeout_seconds": 1}, "listener": world.url}}
    stream = server.run(openai_agent(server, reporter, "slow", configs), "go")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    final = stream.finish()
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == "timeout_skip"
    assert world.count("nobody looked") == 0
    assert "skipped" in tool_results(models.sent_to("slow")[-1])[0]
    assert final["status"] == "success"
    assert server.decide(request_id, "approved").status_code == 409


def test_four_calls_of_one_step_under_one_call_id_are_each_decided_on_their_own(
    server: Live, models: ModelServer, reporter: Tool, world: Listener
) -> None:
    free = server.upload(
        b"""
from langchain_core.tools import BaseTool

class Free(BaseTool):
    name: str = "free"
    description: str = "Runs without asking."

    def _run(self) -> str:
        return "ran freely"
""",
        name="free_of_charge",
    )
    wanted = [tool_call("reporter", {"text": f"step {i}"}, "call_same") for i in range(3)]
    wanted.append(tool_call("free", {}, "call_same"))

    def script(body: Body) -> Body:
        return says("All heard.") if tool_results(body) else calls(*wanted)

    models.scripts["four"] = script
    agent = server.create_agent(
        tools=[reporter["id"], free["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": "four"},
        tool_configs=gated(reporter, world),
    )
    stream = server.run(agent, "go")
    asked = {e["tool_info"]["args"]["text"]: e["hitl"]["request_id"] for e in stream.await_pending(3)}
    words = {"step 0": "rejected", "step 1": "approved", "step 2": "skipped"}
    for text, word in words.items():
        assert server.decide(asked[text], word, f"note on {text}").status_code == 200
    stream.finish()
    assert [world.count(text) for text in words] == [0, 1, 0]
    for text, word in words.items():
        result = stream.result(asked[text])["metadata"]
        assert (result["hitl"]["decision"], result["tool_info"]["args"]) == (word, {"text": text})
    heard = tool_results(models.sent_to("four")[-1])
    assert sorted(f"note on {text}" in "".join(heard) for text in words) == [True] * 3
    assert "ran freely" in heard


@pytest.mark.skipif(os.geteuid() != 0 and not landlock.version(), reason="nothing contains tools here")
def test_a_tool_that_looks_for_the_servers_secrets_finds_none(server: Live, models: ModelServer) -> None:
    seeker = server.upload("seeker.py", name="seeker")
    password = (server.data_dir / "postgres-password").read_text().strip()
    secrets = [OPENAI_KEY, server.key, password, str(embedded.socket_dir(server.data_dir))]
    # What it cannot find by itself where it may read neither /proc nor the directory.
    pids = [server.process.pid, *(one.pid for one in psutil.Process(server.process.pid).children(recursive=True))]
    files = [str(path) for path in server.data_dir.iterdir() if path.is_file()]
    known = {"data_dir": str(server.data_dir), "pids": pids, "files": files}
    where = [known | {"marker": secret} for secret in secrets]
    wanted = [tool_call("seek", arguments, f"call_{i}") for i, arguments in enumerate(where)]
    models.scripts["seek"] = lambda body: says("Searched.") if tool_results(body) else calls(*wanted)
    agent = server.create_agent(tools=[seeker["id"]], agent_config={"lm_provider": "openai", "lm_name": "seek"})
    server.run(agent, "go").finish()
    found = [json.loads(result) for result in tool_results(models.sent_to("seek")[-1])]
    assert [result["found_in"] for result in found] == [[]] * 4
    assert all(len(result["pids"]) >= 6 for result in found)
    assert all({f"/proc/{pid}/environ" for pid in pids} | set(files) <= set(result["looked_at"]) for result in found)
    assert f"Bearer {OPENAI_KEY}" in models.keys

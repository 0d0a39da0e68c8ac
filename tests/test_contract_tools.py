"""The wire contract of the published client, section 4.3: tools after their first upload."""

import re
from typing import Any

import httpx
import pytest

from agents.catalog import native
from agents.catalog import tools as tool_catalog
from tests.live import Live
from tests.test_contract import UNKNOWN_TOOL, is_error, moment, source

Json = dict[str, Any]


def read(server: Live, tool: Json) -> Json:
    answer = server.client.get(f"/tools/{tool['id']}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["data"]
    return found


def upload_again(server: Live, tool: Json, code: bytes, **form: str) -> httpx.Response:
    return server.client.put(f"/tools/{tool['id']}/upload", files={"file": ("new.py", code)}, data=form)


@pytest.fixture
def tool(server: Live) -> Json:
    made: Json = server.upload(source("tools_greeter"), name="tools_greeter", version="1.5", tags="a,b", gate="agent")
    return made


@pytest.fixture(autouse=True)
def tools_are_deleted(server: Live) -> Any:
    """Each test may take the same names."""
    yield
    for tool in server.client.get("/tools/").json()["data"]:
        if tool["name"].startswith("tools_"):
            assert server.client.delete(f"/tools/{tool['id']}").status_code == 204


def test_4_3_a_tool_is_read_as_it_was_uploaded(server: Live, tool: Json) -> None:
    assert read(server, tool) == tool
    assert server.client.get(f"/tools/{tool['id'].upper()}").json()["data"] == tool


def test_4_3_the_script_is_the_source(server: Live, tool: Json) -> None:
    answer = server.client.get(f"/tools/{tool['id']}/script")
    assert answer.json() == {"success": True, "message": "ok", "data": {"script": source("tools_greeter").decode()}}


def test_4_3_put_changes_what_is_sent_and_keeps_the_rest(server: Live, tool: Json) -> None:
    body = {"name": "tools_renamed", "version": "2.0", "description": "New.", "tags": "x, y,,z", "type": "custom"}
    answer = server.client.put(f"/tools/{tool['id']}", json=body)
    assert answer.status_code == 200
    after = answer.json()["data"]
    assert after == read(server, tool)
    assert (after["name"], after["version"], after["description"]) == ("tools_renamed", "2.0", "New.")
    assert after["tags"] == ["x", "y", "z"]
    assert moment(after["updated_at"]) > moment(tool["updated_at"])
    for key in ("id", "framework", "tool_script", "tool_file", "created_at", "account_id", "tool_type"):
        assert after[key] == tool[key]


@pytest.mark.parametrize("body", [{}, {"name": None, "tags": None}, {"unknown": 1}])
def test_4_3_a_put_that_says_nothing_changes_nothing(server: Live, tool: Json, body: Json) -> None:
    answer = server.client.put(f"/tools/{tool['id']}", json=body)
    assert (answer.status_code, answer.json()["data"]) == (200, tool)


def test_4_3_tags_may_come_back_as_they_are_read(server: Live, tool: Json) -> None:
    assert server.client.put(f"/tools/{tool['id']}", json=tool).json()["data"]["tags"] == ["a", "b"]


def test_4_3_names_are_unique_among_the_living_and_a_tools_own_is_no_conflict(server: Live, tool: Json) -> None:
    other = server.upload(source("tools_other"), name="tools_other")
    path = f"/tools/{other['id']}"
    assert "'tools_greeter' exists" in is_error(server.client.put(path, json={"name": "tools_greeter"}), 409)
    assert "exists" in is_error(upload_again(server, other, source("tools_other"), name="tools_greeter"), 409)
    assert read(server, other) == other
    assert server.client.put(path, json={"name": "tools_other"}).status_code == 200
    assert upload_again(server, other, source("tools_other"), name="tools_other").status_code == 200
    server.client.delete(f"/tools/{tool['id']}")
    assert server.client.put(path, json={"name": "tools_greeter"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": ""}, "name: "),
        ({"name": "n" * 300}, "name: "),
        ({"name": 7}, "name: "),
        ({"version": 1.0}, "version: "),
        ({"version": "v" * 51}, "version: "),
        ({"framework": []}, "framework: "),
        ({"description": {}}, "description: "),
        ({"tags": 7}, "tags: "),
        ({"tags": [7]}, "tags: "),
        ({"tags": "t" * 10_001}, "tags: "),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_4_3_a_put_with_a_wrong_field_is_400_and_changes_nothing(
    server: Live, tool: Json, body: Json, words: str
) -> None:
    assert words in is_error(server.client.put(f"/tools/{tool['id']}", json={"description": "x"} | body), 400)
    assert read(server, tool) == tool


def test_4_3_an_upload_over_a_tool_gives_it_a_new_version_under_the_same_id(server: Live, tool: Json) -> None:
    versions = "SELECT count(*) FROM agents_toolversion"
    before = server.rows(versions)[0][0]
    code = source("tools_greeter").replace(b"Hello", b"Good day")
    answer = upload_again(server, tool, code)
    assert answer.status_code == 200
    after = answer.json()["data"]
    assert after == read(server, tool)
    assert (after["tool_script"].encode(), after["tool_file"]) == (code, "new.py")
    assert server.client.get(f"/tools/{tool['id']}/script").json()["data"]["script"].encode() == code
    changed = {"tool_script", "tool_file", "updated_at"}
    assert {key for key in after if after[key] != tool[key]} == changed
    assert server.rows(versions)[0][0] == before + 1


def test_4_3_the_fields_of_that_form_change_the_tool_too(server: Live, tool: Json) -> None:
    form = {"name": "tools_renamed", "version": "3", "description": "New.", "tags": "c", "framework": "langchain"}
    after = upload_again(server, tool, source("tools_greeter"), type="custom", **form).json()["data"]
    assert {key: after[key] for key in form} == form | {"tags": ["c"]}


def test_4_3_a_description_that_was_the_classs_follows_the_class(server: Live, tool: Json) -> None:
    code = source("tools_greeter").replace(b"Greets a person.", b"Salutes a person.")
    assert upload_again(server, tool, code).json()["data"]["description"] == "Salutes a person."
    server.client.put(f"/tools/{tool['id']}", json={"description": "My own."})
    assert upload_again(server, tool, source("tools_greeter")).json()["data"]["description"] == "My own."


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ([], 415, "multipart"),
        ([("other", ("t.py", b"x"))], 400, "field 'file'"),
        ([("file", ("t.py", b"x = 1"))], 400, "no tool class"),
        ([("file", ("t.py", b"}{"))], 400, "not valid Python"),
        ([("file", ("a.py", b"")), ("file", ("b.py", b""))], 400, "one file"),
    ],
)
def test_4_3_an_upload_that_is_no_tool_changes_nothing(
    server: Live, tool: Json, files: Any, status: int, words: str
) -> None:
    answer = server.client.put(f"/tools/{tool['id']}/upload", files=files, data={"version": "9"})
    assert words in is_error(answer, status)
    assert read(server, tool) == tool


def test_4_3_runs_in_flight_keep_the_version_that_was_shown(server: Live, tool: Json) -> None:
    agent = server.create_agent(
        tools=[tool["id"]], agent_config={"hitl_enabled": True}, tool_configs={tool["id"]: {"hitl": {}}}
    )
    stream = server.run(agent, "Bob")
    (asked,) = stream.await_pending()
    code = source("tools_greeter").replace(b"Hello", b"Good day")
    assert upload_again(server, tool, code).status_code == 200
    assert server.decide(asked["hitl"]["request_id"], "approved").status_code == 200
    assert stream.finish()["content"] == "tools_greeter: Hello, Bob!"
    config = {"agent_config": {"hitl_enabled": False}}
    assert server.run(agent, "Bob", runtime_config=config).finish()["content"] == "tools_greeter: Good day, Bob!"


def test_4_3_two_tools_of_one_agent_never_come_to_call_themselves_alike(server: Live, tool: Json) -> None:
    other = server.upload(source("tools_other"), name="tools_other")
    agent = server.create_agent(name="has both", tools=[tool["id"], other["id"]])
    message = is_error(upload_again(server, other, source("tools_greeter"), version="9"), 409)
    assert "'has both'" in message
    assert "'tools_greeter'" in message
    assert read(server, other) == other
    # Once it is not the agent's any more it may; and then the two are not given to one agent together.
    server.client.patch(f"/agents/{agent}", json={"tools": [tool["id"]]})
    assert upload_again(server, other, source("tools_greeter")).status_code == 200
    both = {"tools": [tool["id"], other["id"]]}
    assert "call themselves" in is_error(server.client.patch(f"/agents/{agent}", json=both), 400)
    assert "call themselves" in is_error(server.client.post("/agents/", json={"name": "x"} | both), 400)


def test_4_3_a_deleted_agent_with_two_tools_that_are_alike_by_now_is_not_restored(server: Live, tool: Json) -> None:
    other = server.upload(source("tools_other"), name="tools_other")
    agent = server.create_agent(tools=[tool["id"], other["id"]])
    server.client.delete(f"/agents/{agent}")
    assert upload_again(server, other, source("tools_greeter")).status_code == 200
    assert "call themselves" in is_error(server.client.post(f"/agents/{agent}/restore"), 409)
    server.client.delete(f"/tools/{other['id']}")
    assert server.client.post(f"/agents/{agent}/restore").status_code == 200


def test_4_3_an_agent_that_does_not_fit_together_any_more_starts_no_run_and_its_config_is_not_blamed(
    server: Live, tool: Json
) -> None:
    helper = server.create_agent(name="tools_helper")
    agent = server.create_agent(tools=[tool["id"]], agents=[helper])
    server.client.patch(f"/agents/{helper}", json={"name": "tools_greeter"})
    message = is_error(server.client.post(f"/agents/{agent}/run", json={"input": "x"}), 400)
    assert message.startswith("The sub-agent tools_greeter would be called 'tools_greeter'")
    server.client.delete(f"/agents/{helper}")
    assert "cannot tell them apart" in is_error(server.client.post(f"/agents/{helper}/restore"), 409)


def test_4_3_a_deleted_tool_is_gone_dropped_from_its_agents_and_its_name_is_free(server: Live, tool: Json) -> None:
    other = server.upload(source("tools_other"), name="tools_other")
    agent = server.create_agent(name="drops", tools=[tool["id"], other["id"]])
    answer = server.client.delete(f"/tools/{tool['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    path = f"/tools/{tool['id']}"
    for method, url in [("GET", path), ("GET", f"{path}/script"), ("DELETE", path)]:
        assert tool["id"] in is_error(server.client.request(method, url), 404)
    assert tool["id"] in is_error(server.client.put(path, json={"version": "2"}), 404)
    assert tool["id"] in is_error(upload_again(server, tool, source("tools_greeter")), 404)
    assert tool["id"] not in [found["id"] for found in server.client.get("/tools/").json()["data"]]
    kept = [{"id": other["id"], "name": "tools_other"}]
    assert server.client.get(f"/agents/{agent}").json()["data"]["tools"] == kept
    listed = server.client.get("/agents/", params={"name": "drops"}).json()["data"]
    assert [found["tools"] for found in listed if found["id"] == agent] == [kept]
    assert "no tool" in is_error(server.client.patch(f"/agents/{agent}", json={"tools": [tool["id"]]}), 400)
    assert server.run(agent, "Bob").finish()["content"] == "tools_other: Hello, Bob!"
    assert server.upload(source("tools_greeter"), name="tools_greeter")["id"] != tool["id"]


def test_4_3_calls_of_a_deleted_tool_do_not_run_in_runs_under_way(server: Live, tool: Json) -> None:
    agent = server.create_agent(
        tools=[tool["id"]], agent_config={"hitl_enabled": True}, tool_configs={tool["id"]: {"hitl": {}}}
    )
    stream = server.run(agent, "Bob")
    (asked,) = stream.await_pending()
    server.client.delete(f"/tools/{tool['id']}")
    assert (
        stream.finish()["content"] == "tools_greeter: This tool was deleted, so the call did not run. Go on without it."
    )
    assert server.decide(asked["hitl"]["request_id"], "approved").status_code == 409


@pytest.mark.parametrize("tool_id", [UNKNOWN_TOOL, "no-uuid", "%00", "a" * 5000])
def test_4_3_an_unknown_id_is_404(server: Live, tool_id: str) -> None:
    for path in (f"/tools/{tool_id}", f"/tools/{tool_id}/script"):
        is_error(server.client.get(path), 404)
    is_error(server.client.put(f"/tools/{tool_id}", json={}), 404)
    is_error(server.client.delete(f"/tools/{tool_id}"), 404)
    is_error(server.client.put(f"/tools/{tool_id}/upload", files={"file": ("t.py", source("tools_x"))}), 404)


# A tool's own gate


def gated_by(server: Live, tool: Json) -> str:
    """An agent that gates the tool."""
    agent: str = server.create_agent(
        tools=[tool["id"]], agent_config={"hitl_enabled": True}, tool_configs={tool["id"]: {"hitl": {}}}
    )
    return agent


def upload_anew(server: Live, name: str, /, **form: str) -> Json:
    answer = server.client.post("/tools/upload", files={"file": ("t.py", source(name))}, data=form)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_a_gate_is_set_at_upload_by_put_and_by_a_new_file(server: Live, tool: Json) -> None:
    assert tool["gate"] == "agent"
    asking = server.upload(source("tools_asking"), name="tools_asking", gate="ask")
    assert asking["gate"] == read(server, asking)["gate"] == "ask"
    path = f"/tools/{asking['id']}"
    for body, gate in [({"version": "2"}, "ask"), ({"gate": None}, "ask"), ({"gate": "agent"}, "agent")]:
        assert server.client.put(path, json=body).json()["data"]["gate"] == gate
    for form, gate in [({"gate": "ask"}, "ask"), ({}, "ask"), ({"gate": "agent"}, "agent")]:
        assert upload_again(server, asking, source("tools_asking"), **form).json()["data"]["gate"] == gate


@pytest.mark.parametrize("gate", ["Ask", "always", "no"])
def test_a_gate_that_does_not_exist_is_400_and_changes_nothing(server: Live, tool: Json, gate: str) -> None:
    words = "gate: This must be one of: agent, ask."
    assert words in is_error(server.client.put(f"/tools/{tool['id']}", json={"gate": gate}), 400)
    assert words in is_error(upload_again(server, tool, source("tools_greeter"), gate=gate), 400)
    files = {"file": ("t.py", source("tools_new"))}
    assert words in is_error(server.client.post("/tools/upload", files=files, data={"gate": gate}), 400)
    assert read(server, tool) == tool
    for value in (True, 7, [], {}, ""):
        assert words in is_error(server.client.put(f"/tools/{tool['id']}", json={"gate": value}), 400)


def test_a_tool_that_always_asks_waits_whatever_agent_and_run_say(server: Live) -> None:
    tool = server.upload(source("tools_always"), name="tools_always", gate="ask")
    agent = server.create_agent(tools=[tool["id"]])
    off = {"agent_config": {"hitl_enabled": False}, "tool_configs": {tool["id"]: {"hitl": None}}}
    stream = server.run(agent, "Bob", runtime_config=off)
    (asked,) = stream.await_pending()
    assert asked["hitl"]["timeout_seconds"] == 300
    assert server.decide(asked["hitl"]["request_id"], "rejected").status_code == 200
    stream.finish()


@pytest.mark.parametrize("taken_first", [False, True])
def test_a_tool_that_replaces_a_deleted_one_that_was_gated_asks_and_says_so(
    server: Live, tool: Json, taken_first: bool
) -> None:
    agent = gated_by(server, tool)
    if taken_first:
        server.client.patch(f"/agents/{agent}", json={"tools": []})
    server.client.delete(f"/tools/{tool['id']}")
    said = upload_anew(server, "tools_greeter", name="tools_greeter")
    new = said["data"]
    assert new["gate"] == "ask"
    assert f'PUT /tools/{new["id"]} with {{"gate": "agent"}}' in said["message"]
    # The gate is passed on until somebody takes it off.
    server.client.delete(f"/agents/{agent}")
    server.client.delete(f"/tools/{new['id']}")
    assert upload_anew(server, "tools_greeter")["data"]["gate"] == "ask"


def test_a_replacement_starts_as_usual_where_no_living_agent_gated_the_old_one_or_the_upload_says_so(
    server: Live,
) -> None:
    first = upload_anew(server, "tools_replaced")["data"]
    server.client.delete(f"/agents/{gated_by(server, first)}")
    server.create_agent(tools=[first["id"]], tool_configs={first["id"]: {"timeout_seconds": 5}})
    server.client.delete(f"/tools/{first['id']}")
    said = upload_anew(server, "tools_replaced")
    assert (said["data"]["gate"], said["message"]) == ("agent", "Tool uploaded")
    gated_by(server, said["data"])
    server.client.delete(f"/tools/{said['data']['id']}")
    assert upload_anew(server, "tools_replaced", gate="agent")["data"]["gate"] == "agent"


# Native tools


@pytest.fixture
def time_tool(server: Live) -> Json:
    (found,) = server.client.get("/tools/", params={"type": "native"}).json()["data"]
    assert found in server.client.get("/tools/").json()["data"]
    assert found not in server.client.get("/tools/", params={"type": "custom"}).json()["data"]
    time: Json = found
    return time


def test_4_3_the_native_tool_is_listed_and_read(server: Live, time_tool: Json) -> None:
    assert (time_tool["name"], time_tool["tool_type"], time_tool["account_id"]) == ("time_tool", "native", None)
    assert read(server, time_tool) == time_tool
    script = server.client.get(f"/tools/{time_tool['id']}/script").json()["data"]["script"]
    assert script == time_tool["tool_script"]


def test_4_3_the_native_tool_is_not_changed_or_deleted_apart_from_its_gate(server: Live, time_tool: Json) -> None:
    path = f"/tools/{time_tool['id']}"
    for answer in (
        server.client.put(path, json={"description": "x"}),
        server.client.put(path, json={"gate": "ask", "name": "x"}),
        upload_again(server, time_tool, source("tools_greeter")),
        server.client.delete(path),
    ):
        assert "'time_tool' comes with the server" in is_error(answer, 409)
    assert read(server, time_tool) == time_tool
    assert server.client.put(path, json={}).json()["data"] == time_tool
    for gate in ("ask", "agent"):
        assert server.client.put(path, json={"gate": gate}).json()["data"]["gate"] == gate


def test_4_3_the_native_tool_runs_and_its_name_is_free_for_an_upload(server: Live, time_tool: Json) -> None:
    agent = server.create_agent(tools=[time_tool["id"]])
    assert re.search(r"time_tool: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", server.run(agent, "UTC").finish()["content"])
    answer = server.run(agent, "Nowhere/Atlantis").finish()["content"]
    assert "no time zone" in answer or "+00:00" in answer
    own = server.upload(source("time_tool"), name="time_tool")
    assert own["id"] != time_tool["id"]
    assert server.client.delete(f"/tools/{own['id']}").status_code == 204


def test_4_3_the_native_tool_is_what_an_upload_of_its_file_would_be() -> None:
    fields = native.shipped("time_tool")
    learned = tool_catalog.describe(fields["source"].encode(), fields["file_name"], object_name=None, names=[])
    assert {name: getattr(learned, name) for name in fields} == fields

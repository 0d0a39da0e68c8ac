"""The wire contract of the published client, sections 4.1 and 4.2: listing, changing and deleting agents."""

from typing import Any

import pytest

from tests.live import Live
from tests.model_server import ModelServer, says
from tests.test_contract import UNKNOWN, is_error, listed_id, moment, source

Json = dict[str, Any]
OPENAI = {"lm_provider": "openai", "lm_name": "gpt-4.1"}


@pytest.fixture(scope="module")
def tools(server: Live) -> list[Json]:
    return [server.upload(source(f"agents_greeter_{i}"), name=f"agents_greeter_{i}") for i in range(3)]


def read(server: Live, agent: str) -> Json:
    answer = server.client.get(f"/agents/{agent}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["data"]
    return found


def change(server: Live, method: str, agent: str, **body: Any) -> Json:
    """What the answer says beside the whole agent: its `warnings` and `ungated`."""
    answer = server.client.request(method, f"/agents/{agent}", json=body)
    assert answer.status_code == 200, answer.text
    said: Json = answer.json()["data"]
    now = read(server, agent)
    assert {key: said[key] for key in now} == now
    assert said.keys() - now.keys() == {"warnings", "ungated"}
    return said


def put(server: Live, agent: str, **body: Any) -> Json:
    change(server, "PUT", agent, **{"name": "agent"} | body)
    return read(server, agent)


def patch(server: Live, agent: str, **body: Any) -> Json:
    change(server, "PATCH", agent, **body)
    return read(server, agent)


def as_the_client_sends(agent: Json) -> Json:
    """An agent that was read, as `update_agent` puts it back (contract 4.2)."""
    kept = ("name", "instruction", "type", "framework", "version")
    body = {key: agent[key] for key in kept}
    body |= {key: [entry["id"] for entry in agent[key]] for key in ("tools", "agents", "mcps")}
    body |= {key: agent[key] for key in ("description", "metadata", "tool_configs", "skills") if agent[key]}
    config = agent["agent_config"]
    if agent["language_model_id"]:
        body["language_model_id"] = agent["language_model_id"]
    elif not config.get("language_model"):
        body |= {"provider": config["lm_provider"], "model_name": config["lm_name"]}
    stripped = ("lm_provider", "lm_name", "lm_base_url")
    return body | {"agent_config": {key: value for key, value in config.items() if key not in stripped}}


# 4.1 GET /agents/


def ids(server: Live, **query: Any) -> list[str]:
    answer = server.client.get("/agents/", params=query)
    assert answer.status_code == 200, answer.text
    return [agent["id"] for agent in answer.json()["data"]]


def test_4_1_a_deleted_agent_is_listed_only_where_it_is_asked_for(server: Live) -> None:
    living, deleted = (server.create_agent(metadata={"set": "deleted"}) for _ in range(2))
    assert server.client.delete(f"/agents/{deleted}").status_code == 204
    for value, expected in [
        ("", [living]),
        ("false", [living]),
        ("true", [deleted, living]),
        ("TRUE", [deleted, living]),
    ]:
        assert ids(server, **{"metadata.set": "deleted", "include_deleted": value}) == expected
    listed = server.client.get("/agents/", params={"metadata.set": "deleted", "include_deleted": "true"}).json()["data"]
    assert [bool(agent["deleted_at"]) for agent in listed] == [True, False]


def test_4_1_include_deleted_is_a_truth_value(server: Live) -> None:
    assert "include_deleted" in is_error(server.client.get("/agents/?include_deleted=maybe"), 400)


@pytest.mark.parametrize(
    "key",
    ["team", "a.b", "it's", '"quoted"', "50%", "%s", "a%20b", "7", "-1", "$.x", "{x}", "[0]", "", "ü", "a b", "\\"],
)
def test_4_1_metadata_is_filtered_by_any_key_and_value(server: Live, key: str) -> None:
    value = f"{key} 'x' \"y\" %d 100% .\\"
    agent = server.create_agent(metadata={key: value, "set": "keys"})
    assert ids(server, **{f"metadata.{key}": value}) == [agent]
    assert ids(server, **{f"metadata.{key}": value[:-1]}) == []
    assert agent not in ids(server, **{f"metadata.{key}.": value})


@pytest.mark.parametrize(
    ("value", "text", "there"),
    [(7, "7", True), (True, "true", True), ("", "", True), (None, "null", False), ("x", "X", False), ("x", "", False)],
)
def test_4_1_a_metadata_value_is_matched_exactly(server: Live, value: Any, text: str, there: bool) -> None:
    agent = server.create_agent(metadata={"exact": value})
    assert (agent in ids(server, **{"metadata.exact": text})) is there


def test_4_1_filters_and_paging_go_together_and_beyond_the_end_there_is_nothing(server: Live) -> None:
    made = [server.create_agent(name=f"Both {i}", version="7.7", metadata={"m": str(i % 2)}) for i in range(5)]
    query = {"name": "both", "version": "7.7", "metadata.m": "0", "limit": 2}
    assert ids(server, **query) == [made[4], made[2]]
    assert ids(server, **query, page=2) == [made[0]]
    assert ids(server, **query, page=1_000_000) == []
    whole = server.client.get("/agents/", params={"name": "both", "page": 2}).json()
    assert (whole["data"], whole["has_next"], whole["has_prev"]) == ([], False, True)
    none = server.client.get("/agents/", params={"name": "no agent has this name"}).json()
    assert (none["data"], none["total"], none["has_next"], none["has_prev"]) == ([], 0, False, False)


def test_4_1_agents_are_filtered_by_when_they_were_changed(server: Live) -> None:
    agent = server.create_agent(metadata={"set": "changed"})
    before = read(server, agent)["updated_at"]
    assert moment(patch(server, agent, description="new")["updated_at"]) > moment(before)
    query = {"metadata.set": "changed"}
    assert ids(server, **query, updated_at_end=before) == []
    assert ids(server, **query, created_at_end=before) == [agent]
    assert ids(server, **query, updated_at_start=read(server, agent)["updated_at"]) == [agent]


# 4.2 PUT


def test_4_2_what_the_client_read_and_puts_back_changes_nothing_but_the_time(server: Live, tools: list[Json]) -> None:
    agent = server.create_agent(
        tools=[tools[1]["id"], tools[0]["id"]],
        description="x",
        metadata={"type": "custom"},
        skills=[{"url": "https://skills.example.com"}],
        agent_config={"hitl_enabled": True, "timeout_seconds": 300, "own": {"a": [1]}} | OPENAI,
        tool_configs={tools[0]["id"]: {"hitl": {"timeout_seconds": 30}}},
    )
    before = read(server, agent)
    after = put(server, agent, **as_the_client_sends(before))
    assert moment(after.pop("updated_at")) > moment(before.pop("updated_at"))
    assert after == before


def test_4_2_put_replaces_and_what_is_left_out_is_as_never_given(server: Live, tools: list[Json]) -> None:
    agent = server.create_agent(
        tools=[tools[0]["id"]],
        description="x",
        version="9.9",
        metadata={"a": 1},
        skills=[{"url": "x"}],
        a2a_profile={"a": 1},
        mcp_configs={"a": {}},
        tool_configs={tools[0]["id"]: {"hitl": {}}},
        agent_config={"own": 1, "hitl_enabled": True} | OPENAI,
    )
    before, fresh = read(server, agent), read(server, server.create_agent())
    after = put(server, agent, instruction="Do as you are asked.")
    kept = ("id", "created_at", "updated_at")
    assert {key: value for key, value in after.items() if key not in kept} == {
        key: value for key, value in fresh.items() if key not in kept
    }
    assert (after["id"], after["created_at"]) == (agent, before["created_at"])


def test_4_2_empty_lists_and_objects_clear(server: Live, tools: list[Json]) -> None:
    config = {tools[0]["id"]: {"hitl": {}}}
    agent = server.create_agent(tools=[tool["id"] for tool in tools], tool_configs=config)
    body = as_the_client_sends(read(server, agent))
    after = put(server, agent, **body | {"tools": [], "agents": [], "mcps": [], "tool_configs": {}})
    assert (after["tools"], after["agents"], after["mcps"], after["tool_configs"]) == ([], [], [], {})


def test_4_2_tools_are_replaced_in_the_order_given(server: Live, tools: list[Json]) -> None:
    agent = server.create_agent(tools=[tools[0]["id"], tools[1]["id"]])
    after = put(server, agent, tools=[tools[2]["id"], tools[0]["id"]])
    assert after["tools"] == [{"id": tool["id"], "name": tool["name"]} for tool in (tools[2], tools[0])]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tools": [UNKNOWN]}, f"no tool with the id {UNKNOWN}"),
        ({"tools": ["no-uuid"]}, "no tool with the id no-uuid"),
        ({"tools": "x"}, "tools: "),
        ({"name": ""}, "name: "),
        ({"name": None}, "name: "),
        ({"name": 7}, "name: "),
        ({"type": "langflow"}, "type: "),
        ({"metadata": []}, "metadata: "),
        ({"provider": "openai"}, "both provider and model_name"),
        ({"mcps": [UNKNOWN]}, "mcps: "),
        ({"agent_config": {"timeout_seconds": 0}}, "timeout_seconds"),
        ({"agent_config": {"lm_api_key": "sk-1"}}, "keys are set on the server"),
        ({"tool_configs": {UNKNOWN: {"hitl": True}}}, "hitl must be an object"),
        ({"tool_configs": {"x": {}}}, "not the id of a tool"),
    ],
    ids=repr,
)
def test_4_2_an_update_that_makes_no_sense_is_400_and_changes_nothing(
    server: Live, tools: list[Json], method: str, change: Json, words: str
) -> None:
    agent = server.create_agent(name="unchanged", tools=[tools[0]["id"]], metadata={"a": 1})
    before = read(server, agent)
    body = {"name": "changed", "instruction": "changed", "tools": [tools[1]["id"]]} | change
    assert words in is_error(server.client.request(method, f"/agents/{agent}", json=body), 400)
    assert read(server, agent) == before


def test_4_2_a_put_without_a_name_is_400(server: Live) -> None:
    agent = server.create_agent()
    assert "name: " in is_error(server.client.put(f"/agents/{agent}", json={"instruction": "x"}), 400)


@pytest.mark.parametrize(
    "way",
    [
        {"agent_config": OPENAI},
        {"language_model_id": "listed"},
        {"provider": "openai", "model_name": "gpt-4.1"},
        {"agent_config": {"language_model": {"id": "openai/gpt-4.1", "hyperparameters": {"seed": 7}}}},
    ],
    ids=["lm_provider", "language_model_id", "provider", "language_model"],
)
def test_4_2_the_model_survives_every_update_of_the_client(server: Live, models: ModelServer, way: Json) -> None:
    """Trap 14: whichever way it was named, and also where the client does not speak of it."""
    if "language_model_id" in way:
        way = {"language_model_id": listed_id(server)}
    models.scripts["gpt-4.1"] = lambda body: says("From the model.")
    agent = server.create_agent(**way)
    before = read(server, agent)
    put(server, agent, **as_the_client_sends(before))
    patch(server, agent, description="new")
    patch(server, agent, agent_config=as_the_client_sends(before)["agent_config"] | {"own": 1})
    after = read(server, agent)
    assert after["language_model_id"] == before["language_model_id"]
    assert after["agent_config"] == before["agent_config"] | {"own": 1}
    assert server.run(agent, "go").finish()["content"] == "From the model."


def test_4_2_the_model_is_changed_by_each_way_to_name_it(server: Live) -> None:
    agent = server.create_agent(agent_config={"own": 1} | OPENAI)
    rehearsal = {"lm_provider": "rehearsal", "lm_name": "default"}
    named = patch(server, agent, provider="rehearsal", model_name="default")
    assert (named["agent_config"], named["language_model_id"]) == ({"own": 1} | rehearsal, None)
    listed = patch(server, agent, language_model_id=listed_id(server))
    assert (listed["agent_config"], listed["language_model_id"]) == ({"own": 1}, listed_id(server))
    by_config = patch(server, agent, agent_config=rehearsal)
    assert (by_config["agent_config"], by_config["language_model_id"]) == (rehearsal, None)
    embedded = patch(server, agent, agent_config={"language_model": {"id": "openai/gpt-4.1"}})
    assert embedded["agent_config"] == {"language_model": {"id": "openai/gpt-4.1"}} | OPENAI
    again = put(server, agent, provider="rehearsal", model_name="default", agent_config={"own": 2})
    assert again["agent_config"] == {"own": 2} | rehearsal


# 4.2 PATCH


def test_4_2_patch_changes_only_what_is_sent(server: Live, tools: list[Json]) -> None:
    agent = server.create_agent(
        description="x", metadata={"a": 1}, tools=[tools[0]["id"]], tool_configs={tools[0]["id"]: {"hitl": {}}}
    )
    before = read(server, agent)
    after = patch(server, agent, instruction="New text", unknown="ignored")
    assert {key for key in after if after[key] != before[key]} == {"instruction", "updated_at"}


def test_4_2_an_empty_patch_changes_nothing_of_it(server: Live) -> None:
    agent = server.create_agent(description="x")
    before = read(server, agent)
    assert patch(server, agent) | {"updated_at": 0} == before | {"updated_at": 0}


@pytest.mark.parametrize(
    ("field", "value", "cleared"),
    [
        ("instruction", "x", ""),
        ("description", "x", None),
        ("version", "9.9", "1.0"),
        ("metadata", {"a": 1}, {}),
        ("mcp_configs", {"a": {}}, None),
        ("skills", [{"url": "x"}], None),
        ("a2a_profile", {"a": 1}, None),
    ],
)
def test_4_2_null_clears(server: Live, field: str, value: Any, cleared: Any) -> None:
    agent = server.create_agent(**{field: value})
    assert patch(server, agent, **{field: None})[field] == cleared


@pytest.mark.parametrize("nothing", [[], None])
def test_4_2_an_empty_list_empties(server: Live, tools: list[Json], nothing: Any) -> None:
    agent = server.create_agent(tools=[tools[0]["id"]])
    assert patch(server, agent, tools=nothing)["tools"] == []


def test_4_2_agent_config_and_tool_configs_are_replaced_as_wholes_but_for_the_gates(
    server: Live, tools: list[Json]
) -> None:
    first, second = tools[0]["id"], tools[1]["id"]
    agent = server.create_agent(agent_config={"own": 1, "other": {"a": 1}}, tool_configs={first: {"hitl": {}, "a": 1}})
    after = patch(server, agent, agent_config={"other": {"b": 2}}, tool_configs={second: {"hitl": {}}})
    assert after["agent_config"] == {"other": {"b": 2}, "lm_provider": "rehearsal", "lm_name": "default"}
    assert after["tool_configs"] == {first: {"hitl": {}}, second: {"hitl": {}}}


# Gates do not fall off by accident


GATED = {"hitl_enabled": True}


@pytest.fixture
def gated(server: Live, tools: list[Json]) -> str:
    """An agent with two tools, of which the first is gated."""
    first, second = tools[0]["id"], tools[1]["id"]
    config = {first: {"hitl": {"timeout_seconds": 30}, "timeout_seconds": 5}, second: {"timeout_seconds": 6}}
    return server.create_agent(tools=[first, second], agent_config=GATED | OPENAI, tool_configs=config)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"agent_config": OPENAI}, {"timeout_seconds": 5}),
        ({"agent_config": {}}, {"timeout_seconds": 5}),
        ({"agent_config": None}, {"timeout_seconds": 5}),
        ({"tool_configs": {0: {"timeout_seconds": 9}}}, {"timeout_seconds": 9}),
        ({"tool_configs": {0: {}}}, {}),
        ({"tool_configs": {1: {}}}, {}),
        ({"tool_configs": {}}, {}),
        ({"tool_configs": None}, {}),
        ({"language_model_id": None, "description": "x"}, {"timeout_seconds": 5}),
    ],
    ids=repr,
)
def test_a_patch_that_does_not_speak_of_a_gate_keeps_it(
    server: Live, tools: list[Json], gated: str, body: Json, kept: Json
) -> None:
    if configs := body.get("tool_configs"):
        body = {"tool_configs": {tools[number]["id"]: entry for number, entry in configs.items()}}
    said = change(server, "PATCH", gated, **body)
    assert said["agent_config"]["hitl_enabled"] is True
    assert said["tool_configs"][tools[0]["id"]] == {"hitl": {"timeout_seconds": 30}} | kept
    assert (said["warnings"], said["ungated"]) == ([], [tools[1]["name"]])


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"hitl": None}, "These gates were removed: "), (None, "These gates were removed: ")],
)
def test_a_patch_takes_a_gate_by_null_and_says_so(
    server: Live, tools: list[Json], gated: str, entry: Any, words: str
) -> None:
    said = change(server, "PATCH", gated, tool_configs={tools[0]["id"]: entry})
    assert said["tool_configs"] == {tools[0]["id"]: entry}
    assert said["ungated"] == [tools[0]["name"], tools[1]["name"]]
    (warning,) = said["warnings"]
    assert warning.startswith(f"{words}tool_configs.{tools[0]['id']}.hitl ({tools[0]['name']}).")


def test_a_patch_takes_the_master_switch_by_false_and_says_so(server: Live, tools: list[Json], gated: str) -> None:
    said = change(server, "PATCH", gated, agent_config={"hitl_enabled": False})
    assert said["agent_config"]["hitl_enabled"] is False
    assert said["ungated"] == [tools[0]["name"], tools[1]["name"]]
    assert "agent_config.hitl_enabled was true" in said["warnings"][0]
    assert tools[0]["name"] in said["warnings"][1]


def test_a_put_replaces_the_gates_and_says_so(server: Live, tools: list[Json], gated: str) -> None:
    said = change(server, "PUT", gated, name="agent", tools=[tools[0]["id"]])
    assert (said["tool_configs"], "hitl_enabled" in said["agent_config"]) == ({}, False)
    assert said["ungated"] == [tools[0]["name"]]
    assert "agent_config.hitl_enabled was true" in said["warnings"][0]
    assert f"tool_configs.{tools[0]['id']}.hitl ({tools[0]['name']})" in said["warnings"][1]


def test_a_gate_without_the_master_switch_is_taken_and_named(server: Live, tools: list[Json]) -> None:
    tool = tools[0]
    body = {"name": "agent", "tools": [tool["id"]], "tool_configs": {tool["id"]: {"hitl": {}}}}
    answer = server.client.post("/agents/", json=body)
    assert answer.status_code == 201
    said = answer.json()["data"]
    assert said["ungated"] == [tool["name"]]
    (warning,) = said["warnings"]
    assert "without agent_config.hitl_enabled: true" in warning
    assert tool["name"] in warning


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"agent_config": {"hitl_enable": True}}, "agent_config.hitl_enable is not read: write agent_config.hitl_en"),
        ({"agent_config": {"hitlEnabled": True}}, "write agent_config.hitl_enabled."),
        ({"agent_config": {"enable_hitl": True}}, "write agent_config.hitl_enabled and tool_configs.<tool id>.hitl."),
        ({"agent_config": {"lm_names": "x"}}, "write agent_config.lm_name."),
        ({"agent_config": {"tool_configs": {}}}, "agent_config.tool_configs is not read: write tool_configs."),
        ({"hitl_enabled": True}, "hitl_enabled is not read: write agent_config.hitl_enabled."),
        ({"hitl": {}}, "write tool_configs.<tool id>.hitl."),
        ({"toolConfigs": {}}, "toolConfigs is not read: write tool_configs."),
        ({"tool_config": {}}, "write tool_configs."),
        ({"agentConfig": {}}, "write agent_config."),
        ({"tool_configs": {UNKNOWN: {"hitl_enabled": True}}}, "write agent_config.hitl_enabled."),
        ({"tool_configs": {UNKNOWN: {"hitls": {}}}}, f"write tool_configs.{UNKNOWN}.hitl."),
        ({"tool_configs": {UNKNOWN: {"hitl": {"timeoutSeconds": 1}}}}, f"{UNKNOWN}.hitl.timeout_seconds."),
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_keys_that_are_close_to_known_ones_are_named(server: Live, method: str, body: Json, words: str) -> None:
    path = "/agents/" if method == "POST" else f"/agents/{server.create_agent()}"
    answer = server.client.request(method, path, json={"name": "agent"} | body)
    assert answer.status_code in (200, 201), answer.text
    assert words in answer.json()["data"]["warnings"][0]


def test_keys_of_others_are_not_named(server: Live) -> None:
    config = {"own": 1, "memory": "x", "planning": True, "timeout": 5, "max_steps": 3, "k" * 60: 1}
    body = {"name": "agent", "account_id": "x", "unknown": 1, "timeout": 7, "model": "x", "agent_config": config}
    said = server.client.post("/agents/", json=body | {"tool_configs": {UNKNOWN: {"sender": "x", "bcc": "y"}}})
    assert said.json()["data"]["warnings"] == []


def test_many_keys_that_are_close_cost_little(server: Live) -> None:
    keys = {f"hitl_enabled{number}": 1 for number in range(100_000)}
    answer = server.client.post("/agents/", json={"name": "agent"} | keys, timeout=10)
    assert len(answer.json()["data"]["warnings"]) == 20


# 4.2 DELETE, 5 POST /agents/{id}/restore


def test_4_2_a_deleted_agent_is_gone_and_its_name_is_free(server: Live) -> None:
    agent = server.create_agent(name="to be deleted")
    answer = server.client.delete(f"/agents/{agent}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, body in [("GET", None), ("PUT", {"name": "x"}), ("PATCH", {}), ("DELETE", None)]:
        assert agent in is_error(server.client.request(method, f"/agents/{agent}", json=body), 404)
    is_error(server.client.post(f"/agents/{agent}/run", json={"input": "x"}), 404)
    assert ids(server, name="to be deleted") == []
    assert server.create_agent(name="to be deleted") != agent


def test_5_restore_brings_a_deleted_agent_back_as_it_was(server: Live, tools: list[Json]) -> None:
    agent = server.create_agent(name="restored", tools=[tools[0]["id"]], metadata={"a": 1})
    before = read(server, agent)
    server.client.delete(f"/agents/{agent}")
    for _ in range(2):  # the second time there is nothing to restore
        answer = server.client.post(f"/agents/{agent}/restore")
        assert answer.status_code == 200
        assert answer.json()["data"] == read(server, agent)
        assert read(server, agent) | {"updated_at": 0} == before | {"updated_at": 0}
    assert server.run(agent, "Answer").finish()["status"] == "success"


def test_4_2_editing_an_agent_changes_later_runs_only(server: Live, tools: list[Json]) -> None:
    tool = tools[0]
    agent = server.create_agent(
        tools=[tool["id"]], agent_config={"hitl_enabled": True}, tool_configs={tool["id"]: {"hitl": {}}}
    )
    stream = server.run(agent, "Bob")
    (asked,) = stream.await_pending()
    put(server, agent, name="renamed", tools=[tools[1]["id"]])
    server.client.delete(f"/agents/{agent}")
    assert server.decide(asked["hitl"]["request_id"], "approved").status_code == 200
    assert "Hello, Bob!" in stream.finish()["content"]
    server.client.post(f"/agents/{agent}/restore")
    later = server.run(agent, "Bob")
    assert later.finish()["content"] == f"{tools[1]['name']}: Hello, Bob!"
    assert later.pendings() == []

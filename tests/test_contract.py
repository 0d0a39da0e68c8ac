"""The wire contract of the published client, sections 1, 3.1 to 3.3 and 4: paths, keys, tools, agents, lists."""

from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.live import TOOLS, Live
from tests.model_server import ModelServer, says

Json = dict[str, Any]

GREETING = (TOOLS / "greeting.py").read_bytes()
UNKNOWN = "00000000-0000-4000-8000-000000000000"
UNKNOWN_RUN = "00000000-0000-4000-8000-000000000001"
UNKNOWN_TOOL = "00000000-0000-4000-8000-000000000002"
UNKNOWN_REQUEST = "00000000-0000-4000-8000-000000000003"
LISTS = ["/agents/", "/tools/", "/mcps/", "/language-models/", "/agents/hitl/pending"]
ENDPOINTS = [
    *(("GET", path) for path in LISTS),
    *((method, f"/agents/{UNKNOWN}") for method in ("GET", "PUT", "PATCH", "DELETE")),
    ("POST", f"/agents/{UNKNOWN}/restore"),
    ("GET", f"/agents/{UNKNOWN}/runs"),
    ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}"),
    ("POST", "/agents/"),
    ("POST", "/tools/upload"),
    *((method, f"/tools/{UNKNOWN_TOOL}") for method in ("GET", "PUT", "DELETE")),
    ("PUT", f"/tools/{UNKNOWN_TOOL}/upload"),
    ("GET", f"/tools/{UNKNOWN_TOOL}/script"),
    ("POST", "/agents/hitl/decision"),
    ("POST", f"/agents/{UNKNOWN}/run"),
    # Our own, beside the contract.
    ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/stream"),
    ("POST", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/cancel"),
    ("POST", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/resume"),
    ("POST", f"/agents/hitl/requests/{UNKNOWN_REQUEST}/extend"),
]


def source(name: str) -> bytes:
    return GREETING.replace(b'"greet"', f'"{name}"'.encode())


def is_error(answer: httpx.Response, status: int) -> str:
    """The message of an error in the one shape."""
    words = {400: "validation", 401: "auth", 403: "permission", 404: "not_found", 409: "conflict"}
    assert answer.status_code == status, answer.text
    assert "json" in answer.headers["Content-Type"]
    body = answer.json()
    assert body["success"] is False
    assert isinstance(body["error"], str)
    assert body["error"].replace("_", "").isalpha()
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["error_code"] == body["error"]
    assert body["category"] == words.get(status, "unavailable" if status == 503 else "validation")
    assert body["retryable"] is (status == 503)
    assert body["request_id"] == answer.headers["X-Request-ID"]
    for problem in body.get("detail", []):
        assert problem["loc"]
        assert problem["msg"] in body["message"]
    return body["message"]


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None
    return found


@pytest.fixture(scope="module")
def greeter(server: Live) -> Json:
    return server.upload(source("contract_greeter"), name="contract_greeter_form")


# 1.1 Paths and slashes


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_1_1_both_spellings_of_the_last_slash_answer_alike_and_without_a_redirect(
    server: Live, method: str, path: str
) -> None:
    headers = {"X-Request-ID": "the.same:for-both_1"}
    first, second = (server.client.request(method, path.rstrip("/") + slash, headers=headers) for slash in ("", "/"))
    assert not first.is_redirect
    assert (first.status_code, first.content) == (second.status_code, second.content)


@pytest.mark.parametrize("path", ["/agents//", "//agents/", "/agents/hitl", "/agents/x/y", "/"])
def test_1_1_other_spellings_are_404_and_no_redirect(server: Live, path: str) -> None:
    is_error(server.client.get(path), 404)


@pytest.mark.parametrize("path", [*LISTS, "/health-check"])
def test_1_1_head_answers_as_get_does(server: Live, path: str) -> None:
    answer = server.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


# 1.2 Authentication


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"Authorization": "Bearer x"}])
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_1_2_a_missing_or_wrong_key_is_401(server: Live, method: str, path: str, headers: dict[str, str]) -> None:
    answer = httpx.request(method, server.url + path, headers=headers)
    assert "key" in is_error(answer, 401)


# 1.3 Requests


@pytest.mark.parametrize("path", LISTS)
def test_1_3_unknown_query_parameters_are_ignored(server: Live, path: str) -> None:
    answer = server.client.get(path, params={"sync_langflow_agents": "false", "format": "csv", "whatever": "1"})
    assert answer.status_code == 200


def test_1_3_unknown_body_fields_are_ignored(server: Live) -> None:
    agent = server.create_agent(name="more fields", flavour="vanilla", nested={"a": [1]})
    answer = server.client.get(f"/agents/{agent}").json()["data"]
    assert not {"flavour", "nested"} & set(answer)


# 1.4 Success bodies


@pytest.mark.parametrize("path", ["/agents/", "/tools/", "/mcps/", "/language-models/"])
def test_1_4_lists_come_in_an_envelope(server: Live, path: str) -> None:
    answer = server.client.get(path)
    assert "json" in answer.headers["Content-Type"]
    body = answer.json()
    assert body["success"] is True
    assert isinstance(body["data"], list)
    assert isinstance(body["message"], str)


# 1.5 Errors


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no/such/address", 404),
        # Not built (contract 5).
        ("POST", "/agents/schedules/x", 404),
        ("GET", "/agents/schedules", 404),
        ("POST", f"/agents/{UNKNOWN}/schedule", 404),
        ("POST", "/agents/langflow/sync", 404),
        ("POST", "/tools/", 404),
        ("POST", "/mcps/", 404),
        ("GET", f"/mcps/{UNKNOWN}", 404),
        ("PUT", f"/mcps/{UNKNOWN}", 404),
        ("GET", f"/mcps/{UNKNOWN}/tools", 404),
        ("POST", "/mcps/connect", 404),
        ("POST", "/mcps/connect/tools", 404),
        ("DELETE", f"/agents/{UNKNOWN}", 404),
        ("POST", f"/agents/{UNKNOWN}/restore", 404),
        ("GET", f"/agents/{UNKNOWN}/runs", 404),
        ("GET", "/agents/no-uuid/runs", 404),
        ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}", 404),
        ("GET", f"/agents/{UNKNOWN}/runs/no-uuid", 404),
        ("GET", f"/tools/{UNKNOWN_TOOL}", 404),
        ("GET", "/tools/no-uuid", 404),
        ("DELETE", f"/tools/{UNKNOWN_TOOL}", 404),
        ("GET", f"/tools/{UNKNOWN_TOOL}/script", 404),
        ("POST", f"/agents/{UNKNOWN}", 405),
        ("POST", f"/agents/{UNKNOWN}/runs", 405),
        ("POST", f"/tools/{UNKNOWN_TOOL}/upload", 405),
        ("GET", f"/agents/{UNKNOWN}", 404),
        ("DELETE", "/agents/", 405),
        ("GET", "/tools/upload", 405),
        ("GET", "/agents/hitl/decision", 405),
        ("GET", f"/agents/{UNKNOWN}/run", 405),
        ("POST", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/stream", 405),
        ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/stream", 404),
        ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/cancel", 405),
        ("POST", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/cancel", 404),
        ("POST", f"/agents/{UNKNOWN}/runs/no-uuid/cancel", 404),
        ("POST", "/health-check", 405),
        ("POST", "/schema/", 405),
        ("OPTIONS", "/docs/", 405),
        ("POST", "/agents/", 400),
    ],
)
def test_1_5_every_error_has_a_message_in_the_one_shape(server: Live, method: str, path: str, status: int) -> None:
    is_error(server.client.request(method, path), status)


@pytest.mark.parametrize(
    ("method", "path", "takes"),
    [
        ("DELETE", "/agents/", "GET, POST"),
        ("GET", f"/agents/{UNKNOWN}/run", "POST"),
        ("POST", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/stream", "GET"),
    ],
)
def test_1_5_a_wrong_method_is_told_the_right_ones(server: Live, method: str, path: str, takes: str) -> None:
    answer = server.client.request(method, path)
    assert f"takes {takes}" in is_error(answer, 405)
    assert answer.headers["Allow"].startswith(takes)


# 3.1 POST /tools/upload


def test_3_1_the_forms_fields_make_the_tool(server: Live) -> None:
    form = {
        "name": "contract_form", "framework": "langchain", "type": "custom", "version": "2.5",
        "description": "For the lobby.", "tags": "a, b,,c", "flavour": "vanilla",
    }  # fmt: skip
    answer = server.client.post("/tools/upload", files={"file": ("tmp.py", source("contract_form_class"))}, data=form)
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    tool = answer.json()["data"]
    assert UUID(tool["id"]).version == 4
    expected = form | {"tool_type": "custom", "tags": ["a", "b", "c"], "tool_file": "tmp.py"}
    for key in ("name", "framework", "tool_type", "version", "description", "tags", "tool_file"):
        assert tool[key] == expected[key]
    assert tool["tool_script"].encode() == source("contract_form_class")
    moment(tool["created_at"])
    assert tool in server.client.get("/tools/").json()["data"]


def test_3_1_the_guides_upload_has_no_name_and_takes_the_classs_own(server: Live) -> None:
    """The file also has the decorator @tool_plugin, whose package is not here."""
    tool = server.upload(source("contract_class"), framework="langchain")
    assert (tool["name"], tool["description"]) == ("contract_class", "Greets a person.")
    assert (tool["version"], tool["tags"]) == ("1.0", [])


def test_3_1_the_account_is_one_and_the_same_everywhere(server: Live, greeter: Json) -> None:
    """Trap 7: a tool without an account is taken for a shared one."""
    server.create_agent(name="for its account")
    paths = ("/agents/", "/tools/")
    things = [thing for path in paths for thing in server.client.get(path).json()["data"]]
    assert {thing["account_id"] for thing in things if thing.get("tool_type") != "native"} == {greeter["account_id"]}
    assert {thing["account_id"] for thing in things if thing.get("tool_type") == "native"} == {None}
    UUID(greeter["account_id"])


def test_3_1_a_taken_name_is_409_and_nothing_is_written(server: Live, greeter: Json) -> None:
    count = "SELECT (SELECT count(*) FROM agents_tool) + (SELECT count(*) FROM agents_toolversion)"
    before = server.rows(count)
    answer = server.client.post("/tools/upload", files={"file": ("t.py", GREETING)}, data={"name": greeter["name"]})
    assert greeter["name"] in is_error(answer, 409)
    assert server.rows(count) == before


@pytest.mark.parametrize(("kind", "there"), [("custom", True), ("native", False), ("", True)])
def test_4_3_tools_are_listed_by_type(server: Live, greeter: Json, kind: str, there: bool) -> None:
    listed = server.client.get("/tools/", params={"type": kind}).json()["data"]
    assert (greeter["id"] in [tool["id"] for tool in listed]) is there


# 3.2 POST /agents/ and 3.3 GET /agents/{id}


def test_3_2_the_guides_agent_comes_back_whole(server: Live, greeter: Json) -> None:
    """Trap 6: ids go in, objects come out."""
    body = {
        "name": "hitl_approval_agent", "instruction": "Ask first.", "type": "config", "framework": "langchain",
        "version": "1.0.0", "description": "", "metadata": {"type": "custom", "n": 1}, "tools": [greeter["id"]],
        "agent_config": {"hitl_enabled": True, "lm_provider": "openai", "lm_name": "gpt-4.1", "own": [1, {"a": None}]},
        "tool_configs": {greeter["id"]: {"hitl": {"timeout_seconds": 180}}}, "mcp_configs": {"x": {"y": 1}},
        "skills": [{"url": "https://skills.example.com"}], "a2a_profile": {"a": "b"},
    }  # fmt: skip
    answer = server.client.post("/agents/", json=body)
    assert answer.status_code == 201
    created = answer.json()["data"]
    assert (created.pop("warnings"), created.pop("ungated")) == ([], [])  # of this change, and no part of the agent
    read = server.client.get(f"/agents/{created['id']}")
    assert read.status_code == 200
    assert read.json() == {"success": True, "message": "ok", "data": created}
    assert {key: created[key] for key in body} == body | {"tools": [{"id": greeter["id"], "name": greeter["name"]}]}
    assert (created["agents"], created["mcps"], created["language_model_id"]) == ([], [], None)
    assert created["deleted_at"] is None
    assert UUID(created["id"]).version == 4
    assert moment(created["created_at"]) <= moment(created["updated_at"])
    assert not {"success", "data"} & set(created)


def test_3_2_a_name_is_enough_and_may_be_taken(server: Live) -> None:
    first, second = (server.client.post("/agents/", json={"name": "  twin "}).json()["data"] for _ in range(2))
    assert first["id"] != second["id"]
    assert (first["name"], first["type"], first["framework"], first["version"]) == (
        "twin",
        "config",
        "langchain",
        "1.0",
    )
    assert (first["instruction"], first["description"], first["tools"]) == ("", None, [])


def test_3_2_curl_labels_its_json_as_a_form(server: Live) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.client.post("/agents/", content=b'{"name": "by curl"}', headers=form).status_code == 201


def test_3_2_a_megabyte_of_settings_is_kept(server: Live) -> None:
    settings = {"metadata": {"text": "ü" * 500_000}, "tool_configs": {UNKNOWN: {"numbers": list(range(100_000))}}}
    read = server.client.get(f"/agents/{server.create_agent(**settings)}").json()["data"]
    assert {key: read[key] for key in settings} == settings


def listed_id(server: Live) -> str:
    models = server.client.get("/language-models/").json()["data"]
    return next(model["id"] for model in models if (model["provider"], model["name"]) == ("openai", "gpt-4.1"))


@pytest.mark.parametrize(
    "way",
    [
        {"agent_config": {"lm_provider": "openai", "lm_name": "gpt-4.1"}},
        {"language_model_id": "listed"},
        {"provider": "openai", "model_name": "gpt-4.1"},
        {"agent_config": {"language_model": {"id": "openai/gpt-4.1"}}},
    ],
    ids=["lm_provider", "language_model_id", "provider", "language_model"],
)
def test_3_2_each_way_to_name_the_model_is_used_and_given_back(server: Live, models: ModelServer, way: Json) -> None:
    """Trap 14: what is not given back here is lost at the next update."""
    if "language_model_id" in way:
        way = {"language_model_id": listed_id(server)}
    models.scripts["gpt-4.1"] = lambda body: says("From the model.")
    agent = server.create_agent(**way)
    read = server.client.get(f"/agents/{agent}").json()["data"]
    config = read["agent_config"]
    if "language_model_id" in way:
        assert read["language_model_id"] == way["language_model_id"]
    else:
        assert (config["lm_provider"], config["lm_name"]) == ("openai", "gpt-4.1")
    assert config.items() >= way.get("agent_config", {}).items()
    stream = server.run(agent, "go")
    assert stream.finish()["content"] == "From the model."
    assert stream.events[0]["model"] == "openai/gpt-4.1"


def test_3_2_without_a_model_the_servers_default_is_used_and_given_back(server: Live) -> None:
    config = server.client.get(f"/agents/{server.create_agent()}").json()["data"]["agent_config"]
    assert config == {"lm_provider": "rehearsal", "lm_name": "default"}


@pytest.mark.parametrize("way", [{"provider": "openai-compatible", "model_name": "x"}, {"language_model_id": UNKNOWN}])
def test_3_2_a_model_that_cannot_run_fails_the_run_and_not_the_create(server: Live, way: Json) -> None:
    """Trap 13: the reason is told in an event whose text the client shows."""
    final = server.run(server.create_agent(**way), "go").finish()
    assert (final["event_type"], final["status"], final["task_state"]) == ("error", "error", "failed")
    assert (final["metadata"]["kind"], final["metadata"]["status"]) == ("agent_default", "error")
    assert "model" in final["content"]


@pytest.mark.parametrize("agent_id", [UNKNOWN, "not-a-uuid", "%00", "%ff", "1", "a" * 5000])
def test_3_3_an_unknown_id_is_404_also_for_a_run(server: Live, agent_id: str) -> None:
    is_error(server.client.get(f"/agents/{agent_id}"), 404)
    is_error(server.client.post(f"/agents/{agent_id}/run", json={"input": "x"}), 404)


def test_3_3_an_id_in_capitals_is_the_same_id_and_its_gate_holds(server: Live, greeter: Json) -> None:
    tool = greeter["id"].upper()
    agent = server.create_agent(
        tools=[tool], agent_config={"hitl_enabled": True}, tool_configs={tool: {"hitl": {"timeout_seconds": 60}}}
    )
    assert server.client.get(f"/agents/{agent.upper()}").status_code == 200
    stream = server.run(agent, "go")
    (asked,) = stream.await_pending()
    assert server.decide(asked["hitl"]["request_id"], "skipped").status_code == 200
    stream.finish()


# 4.1, 4.5 and 4.6


def test_4_1_without_a_limit_all_agents_come_and_with_one_a_page(server: Live) -> None:
    """Trap 8."""
    ids = [server.create_agent(name=f"page {i}", metadata={"paged": "yes"}) for i in range(3)]
    whole = server.client.get("/agents/").json()
    assert (whole["total"], whole["page"]) == (len(whole["data"]), 1)
    assert (whole["has_next"], whole["has_prev"]) == (False, False)
    assert [agent["id"] for agent in whole["data"][:3]] == ids[::-1]
    asked = [{"metadata.paged": "yes", "limit": 2, "page": number} for number in (1, 2, 3)]
    pages = [server.client.get("/agents/", params=query).json() for query in asked]
    figures = [(p["total"], p["page"], p["limit"], p["has_next"], p["has_prev"]) for p in pages]
    assert figures == [(3, 1, 2, True, False), (3, 2, 2, False, True), (3, 3, 2, False, True)]
    assert [len(page["data"]) for page in pages] == [2, 1, 0]


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("name=FILTER", True), ("name=filtered agents", False), ("name=%25", False), ("agent_type=config", True),
        ("agent_type=code", False), ("framework=langchain", True), ("version=9.9", True), ("version=9", False),
        ("metadata.team=red", True), ("metadata.team=blue", False), ("metadata.none=red", False),
        ("metadata.n=7", True), ("created_at_start=2025-01-01", True),
        ("created_at_start=2999-01-01T00:00:00%2B00:00", False), ("created_at_end=2999-01-01T00:00:00+02:00", True),
        ("updated_at_end=2025-01-01", False),
    ],
)  # fmt: skip
def test_4_1_agents_are_filtered(server: Live, query: str, there: bool) -> None:
    agent = server.create_agent(name="a filtered agent", version="9.9", metadata={"team": "red", "n": 7})
    answer = server.client.get(f"/agents/?{query}")
    assert answer.status_code == 200
    assert (agent in [found["id"] for found in answer.json()["data"]]) is there


def test_4_5_models_anyone_may_name_are_listed_by_page(server: Live) -> None:
    models = server.client.get("/language-models/", params={"offset": 0, "limit": 1000}).json()["data"]
    assert [f"{model['provider']}/{model['name']}" for model in models] == ["rehearsal/default", "openai/gpt-4.1"]
    assert all(model["account_id"] is None and UUID(model["id"]) for model in models)
    assert server.client.get("/language-models/", params={"offset": 1, "limit": 1}).json()["data"] == models[1:]
    assert server.client.get("/language-models/", params={"offset": 99}).json()["data"] == []


def test_4_6_health_needs_no_key(server: Live) -> None:
    answer = httpx.get(f"{server.url}/health-check")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})

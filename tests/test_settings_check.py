"""Settings that a tool's `tool_config_schema` refuses are a 400: when an agent is saved, and when a run starts."""

import threading
import time
from typing import Any

import httpx
import pytest

from tests.live import Event, Live
from tests.test_contract import is_error

SECRET = "bad-Secret-of-mail"
REHEARSAL = {"lm_provider": "rehearsal", "lm_name": "default"}


@pytest.fixture(scope="module")
def mailer(server: Live) -> Event:
    return server.upload("mailer.py", name="mailer of settings")


def post(server: Live, mailer: Event, **settings: Any) -> httpx.Response:
    body = {"name": "mails", "tools": [mailer["id"]], "tool_configs": {mailer["id"]: settings}}
    return server.client.post("/agents/", json=body | {"agent_config": REHEARSAL})


@pytest.fixture
def agent(server: Live, mailer: Event) -> str:
    answer = post(server, mailer, sender="me@example.com")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def agents(server: Live) -> Any:
    return server.rows("SELECT id, tool_configs FROM agents_agent WHERE name = 'mails' ORDER BY id")


REFUSED = [
    ({"limit": 0}, "limit", "Input should be greater than or equal to 1."),
    ({"limit": "many"}, "limit", "Input should be a valid integer"),
    ({"region": "mars"}, "region", "Input should be 'eu' or 'us'."),
    ({"sender": None}, "sender", "Input should be a valid string."),
]


@pytest.mark.parametrize(("settings", "field", "reason"), REFUSED)
def test_a_new_agent_with_settings_that_its_tool_refuses_is_not_made(
    server: Live, mailer: Event, settings: Any, field: str, reason: str
) -> None:
    before = agents(server)
    answer = post(server, mailer, **settings)
    message = is_error(answer, 400)
    assert f"The tool mailer refuses this: {reason}" in message
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["tool_configs", mailer["id"], field]]
    assert agents(server) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_change_that_its_tool_refuses_changes_nothing(server: Live, mailer: Event, agent: str, method: str) -> None:
    before = agents(server)
    body = {"name": "changed", "tools": [mailer["id"]], "tool_configs": {mailer["id"]: {"limit": 0}}}
    answer = server.client.request(method, f"/agents/{agent}", json=body)
    assert "mailer" in is_error(answer, 400)
    assert "limit" in answer.json()["message"]
    assert agents(server) == before


def test_a_patch_of_the_settings_alone_is_checked_and_what_the_tool_takes_is_stored(
    server: Live, mailer: Event, agent: str
) -> None:
    for limit, status in ((0, 400), ("5", 200)):
        answer = server.client.patch(f"/agents/{agent}", json={"tool_configs": {mailer["id"]: {"limit": limit}}})
        assert answer.status_code == status, answer.text
    assert answer.json()["data"]["tool_configs"] == {mailer["id"]: {"limit": "5"}}


def test_a_tool_that_comes_to_settings_which_are_stored_already_is_checked(server: Live, mailer: Event) -> None:
    agent = server.create_agent(tool_configs={mailer["id"]: {"limit": 0}})  # nobody reads them
    answer = server.client.patch(f"/agents/{agent}", json={"tools": [mailer["id"]]})
    assert "limit" in is_error(answer, 400)


def test_settings_that_do_not_change_are_not_checked_again(server: Live) -> None:
    tool = server.upload("mailer.py", name="mailer that grows strict")
    agent = server.create_agent(tools=[tool["id"]], tool_configs={tool["id"]: {"limit": 5}})
    source = tool["tool_script"].replace("ge=1", "ge=6").encode()
    answer = server.client.put(f"/tools/{tool['id']}/upload", files={"file": ("tool.py", source)})
    assert answer.status_code == 200
    for body in (
        {"instruction": "Go on."},
        {"tool_configs": {tool["id"]: {"limit": 5, "hitl": {}, "timeout_seconds": 3}}},
    ):
        assert server.client.patch(f"/agents/{agent}", json=body).status_code == 200
    changed = {"tool_configs": {tool["id"]: {"limit": 4}}}
    assert "limit" in is_error(server.client.patch(f"/agents/{agent}", json=changed), 400)


@pytest.mark.parametrize(("way", "reason"), [("hang", "took too long"), ("exit", "exit code 3"), ("raise", "KeyError")])
def test_a_schema_that_cannot_check_is_a_clear_400(server: Live, mailer: Event, way: str, reason: str) -> None:
    message = is_error(post(server, mailer, way=way), 400)
    assert "The settings of the tool mailer could not be checked: " in message
    assert reason in message


def test_nobody_waits_for_a_schema_that_hangs(server: Live, mailer: Event, agent: str) -> None:
    """No lock is held meanwhile."""
    began = time.monotonic()
    thread = threading.Thread(target=post, args=(server, mailer), kwargs={"way": "hang"})
    thread.start()
    try:
        while thread.is_alive():
            asked = time.monotonic()
            answer = server.client.patch(f"/agents/{agent}", json={"instruction": "Meanwhile."})
            assert answer.status_code == 200
            assert time.monotonic() - asked < 1
    finally:
        thread.join(30)
    assert time.monotonic() - began > 2


@pytest.mark.parametrize("settings", [{"api_token": SECRET}, {"api_token": [SECRET]}, {"api_token": {"x": SECRET}}])
def test_a_secret_is_not_repeated(server: Live, mailer: Event, agent: str, settings: Any) -> None:
    answers = [
        post(server, mailer, **settings),
        server.client.post(
            f"/agents/{agent}/run",
            json={"input": "x", "runtime_config": {"tool_configs": {mailer["id"]: settings}}},
        ),
    ]
    for answer in answers:
        assert "the reason is not shown" in is_error(answer, 400)
        assert SECRET.casefold() not in answer.text.casefold()


def runs(server: Live, agent: str) -> int:
    return int(server.rows("SELECT count(*) FROM agents_run WHERE agent_id = %s", agent)[0][0])


@pytest.mark.parametrize(("settings", "field", "reason"), REFUSED)
def test_a_run_with_settings_that_its_tool_refuses_is_not_made(
    server: Live, mailer: Event, agent: str, settings: Any, field: str, reason: str
) -> None:
    body = {"input": "x", "runtime_config": {"tool_configs": {mailer["id"]: settings}}}
    answer = server.client.post(f"/agents/{agent}/run", json=body)
    assert f"The tool mailer refuses this: {reason}" in is_error(answer, 400)
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["runtime_config", "tool_configs", mailer["id"], field]
    assert runs(server, agent) == 0


def test_settings_of_a_sub_agents_tool_are_checked_too(server: Live, agent: str, mailer: Event) -> None:
    leader = server.create_agent(name="leader of mails", agents=[agent], agent_config=REHEARSAL)
    override = {agent: {"tool_configs": {mailer["id"]: {"limit": 0}}}}
    answer = server.client.post(f"/agents/{leader}/run", json={"input": "x", "runtime_config": override})
    assert "limit" in is_error(answer, 400)
    assert runs(server, leader) == 0


def test_a_run_overrides_what_its_tool_takes_and_keeps_the_rest(server: Live, agent: str, mailer: Event) -> None:
    override = {"tool_configs": {mailer["id"]: {"limit": 3}}}
    answer = server.run(agent, "jane@example.com", runtime_config=override).finish()
    assert '{"to": "jane@example.com", "from": "me@example.com", "limit": 3}' in answer["content"]
    answer = server.run(agent, "jane@example.com").finish()
    assert '"limit": 10' in answer["content"]


TOOL = """
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field
import os

{schema}

class Configured(BaseTool):
    name: str = "configured"
    description: str = "Has settings."
    tool_config_schema: {kind} = {given}

    def _run(self) -> str:
        return ""
"""
UNUSABLE = [
    ("class S(BaseModel):\n    key: str = Field(default_factory=lambda: os.environ['KEY'])", "S", "raises KeyError"),
    ("class S(BaseModel):\n    def model_post_init(self, _): 1 / 0", "S", "raises ZeroDivisionError in line"),
    ("", "{'type': 'object'}", "must be a class derived from BaseModel"),
    ("class S: pass", "S", "must be a class derived from BaseModel"),
    (
        "from typing import Callable\nclass S(BaseModel):\n    f: Callable[[], int] = len",
        "S",
        "cannot be expressed as JSON Schema",
    ),
]  # fmt: skip


def test_a_schema_that_is_a_property_and_raises_is_refused_at_upload(server: Live) -> None:
    source = TOOL.format(schema="", kind="object", given="None").replace(
        "    tool_config_schema: object = None", "    @property\n    def tool_config_schema(self): 1 / 0"
    )
    answer = server.client.post("/tools/upload", files={"file": ("tool.py", source.encode())})
    assert "The tool's tool_config_schema raises ZeroDivisionError in line" in is_error(answer, 400)


@pytest.mark.parametrize(("schema", "given", "reason"), UNUSABLE)
def test_a_schema_of_which_no_settings_can_be_made_is_refused_at_upload(
    server: Live, schema: str, given: str, reason: str
) -> None:
    source = TOOL.format(schema=schema, kind="object", given=given).encode()
    answer = server.client.post("/tools/upload", files={"file": ("tool.py", source)})
    message = is_error(answer, 400)
    assert message.startswith("file: The tool's tool_config_schema ")
    assert reason in message


def test_a_secret_is_known_by_its_type_under_its_alias_too(server: Live) -> None:
    schema = (
        "from pydantic import SecretStr\nclass S(BaseModel):\n    login: SecretStr = Field(SecretStr(''), alias='cred')"
    )
    source = TOOL.format(schema=schema, kind="type[BaseModel]", given="S").encode()
    tool = server.upload(source, name="configured, with an alias")
    body = {"name": "x", "tools": [tool["id"]], "tool_configs": {tool["id"]: {"cred": [SECRET]}}}
    answer = server.client.post("/agents/", json=body)
    assert f"tool_configs.{tool['id']}.cred: " in is_error(answer, 400)
    assert "the reason is not shown" in answer.json()["message"]


def test_a_schema_that_needs_settings_is_no_defect(server: Live) -> None:
    source = TOOL.format(schema="class S(BaseModel):\n    region: str", kind="type[BaseModel]", given="S").encode()
    tool = server.upload(source, name="configured, needs a region")
    agent = server.create_agent(tools=[tool["id"]], tool_configs={tool["id"]: {"region": "eu"}})
    answer = server.client.patch(f"/agents/{agent}", json={"tool_configs": {}})
    assert "region: The tool configured refuses this: Field required." in is_error(answer, 400)

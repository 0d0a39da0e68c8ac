"""Bad input is refused with a 4xx in the one error shape, writes nothing, and leaves the server as it was."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.live import TOOLS, Live
from tests.test_contract import UNKNOWN, is_error, source

Json = dict[str, Any]

REPORTER = (TOOLS / "reporter.py").read_bytes()
JSON = {"Content-Type": "application/json"}
AGENTS, RUN, DECISION, UPLOAD = "/agents/", "/agents/{agent}/run", "/agents/hitl/decision", "/tools/upload"
YEAR = 31_536_000
MEGABYTE = 1024**2
WRITTEN = """
    SELECT (SELECT count(*) FROM agents_agent), (SELECT count(*) FROM agents_tool),
           (SELECT count(*) FROM agents_toolversion), (SELECT count(*) FROM agents_run),
           (SELECT count(*) FROM hitl_decision WHERE source = 'api')
"""


@pytest.fixture(scope="module")
def tool(server: Live) -> Json:
    return server.upload(source("bad_input_greeter"), name="bad_input")


@pytest.fixture(scope="module")
def agent(server: Live, tool: Json) -> str:
    return server.create_agent(tools=[tool["id"]])


@pytest.fixture(scope="module")
def request_id(server: Live, tool: Json, agent: str) -> Iterator[str]:
    """A request that waits while the module's tests fail to decide it."""
    config = {"agent_config": {"hitl_enabled": True}, "tool_configs": {tool["id"]: {"hitl": {}}}}
    stream = server.run(agent, "go", runtime_config=config)
    (asked,) = stream.await_pending()
    yield asked["hitl"]["request_id"]
    assert server.client.get("/health-check").status_code == 200
    assert server.decide(asked["hitl"]["request_id"], "skipped").status_code == 200
    stream.finish()


@pytest.fixture(scope="module")
def written(server: Live, request_id: str) -> list[tuple[int, ...]]:
    return server.rows(WRITTEN)


@pytest.fixture(autouse=True)
def nothing_is_written(server: Live, written: list[tuple[int, ...]]) -> Iterator[None]:
    yield
    found, expected = server.rows(WRITTEN), [*written]
    written[:] = found  # one test's fault is not the next one's
    assert found == expected


def body_for(path: str, request_id: str) -> Json:
    """What the endpoint would accept."""
    return {AGENTS: {"name": "x"}, RUN: {"input": "x"}, DECISION: {"request_id": request_id, "decision": "approved"}}[
        path
    ]


# Bodies, whatever the endpoint


@pytest.mark.parametrize("path", ["/agents/{agent}", "/tools/{tool}"])
@pytest.mark.parametrize("body", [b"[]", b"{", b'{"name": "\xff"}', b'{"a": 1, "a": 2}', b'{"a": "\\u0000"}'])
def test_an_update_whose_body_is_no_storable_json_object_is_400(
    server: Live, agent: str, tool: Json, path: str, body: bytes
) -> None:
    url = path.format(agent=agent, tool=tool["id"])
    is_error(server.client.put(url, content=body, headers=JSON), 400)
    is_error(server.client.put(url, content=b"{}", headers={"Content-Type": "text/plain"}), 415)


@pytest.mark.parametrize("path", [AGENTS, RUN, DECISION])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"1", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{", "not valid JSON"),
        (b"{'name': 'x'}", "not valid JSON"),
        (b'{"name": "x",}', "not valid JSON"),
        (b'{"name": "\xff"}', "not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "names 'c' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e400}', "not finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"\\u0000": "a"}', "NUL"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
    ],
)
def test_a_body_that_is_no_storable_json_object_is_400(
    server: Live, agent: str, path: str, body: bytes, words: str
) -> None:
    answer = server.client.post(path.format(agent=agent), content=body, headers=JSON)
    assert words in is_error(answer, 400)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (path, content_type)
        for path in (AGENTS, RUN, DECISION)
        for content_type in (None, "", "text/plain", "application/xml", "nonsense", "multipart/form-data")
        if (path, content_type) != (RUN, "multipart/form-data")  # files may come with a run
    ],
)
def test_another_content_type_is_415(
    server: Live, agent: str, request_id: str, path: str, content_type: str | None
) -> None:
    given: Json = {"content": str(body_for(path, request_id)).replace("'", '"').encode()}
    if content_type == "multipart/form-data":
        given = {"files": {"files": ("a.txt", b"a")}, "data": body_for(path, request_id)}
    elif content_type is not None:
        given["headers"] = {"Content-Type": content_type}
    answer = server.client.post(path.format(agent=agent), **given)
    assert "application/json" in is_error(answer, 415)


@pytest.mark.parametrize("path", [AGENTS, RUN, DECISION])
@pytest.mark.parametrize("charset", ["bogus", "utf-16", "\x7f"])
def test_json_is_utf_8_whatever_charset_is_claimed(server: Live, agent: str, path: str, charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    answer = server.client.post(path.format(agent=agent), content='{"name": 1, "ü": 1}'.encode(), headers=headers)
    assert answer.status_code == 400
    if charset != "\x7f":  # that one is refused before the server's own code is asked
        assert "not valid JSON" not in is_error(answer, 400)


@pytest.mark.parametrize("path", [AGENTS, RUN, DECISION])
def test_no_body_at_all_is_400(server: Live, agent: str, path: str) -> None:
    is_error(server.client.post(path.format(agent=agent), headers=JSON), 400)


@pytest.mark.parametrize("path", [AGENTS, RUN, DECISION, UPLOAD])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_of_50_mb_is_413(server: Live, agent: str, path: str, chunked: bool) -> None:
    content = (b"x" * MEGABYTE for _ in range(50)) if chunked else b"x" * 50 * MEGABYTE
    answer = server.client.post(path.format(agent=agent), content=content, headers=JSON)
    assert "8 MiB" in is_error(answer, 413)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x"])
def test_the_server_keeps_nothing_of_a_body_that_is_too_large(server: Live, content_type: str) -> None:
    """Nor from somebody without a key."""
    web = server.child("daphne")
    before = highest_memory(web.pid)
    content = (b"x" * MEGABYTE for _ in range(200))
    answer = httpx.post(server.url + UPLOAD, content=content, headers={"Content-Type": content_type}, timeout=60)
    is_error(answer, 413)
    assert highest_memory(web.pid) - before < 60 * MEGABYTE


def highest_memory(pid: int) -> int:
    """The most memory that a process has ever had, in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("path", [AGENTS, DECISION])
def test_an_accept_header_that_leaves_no_json_is_406(server: Live, path: str) -> None:
    answer = server.client.post(path, json={}, headers={"Accept": "text/html"})
    assert "application/json" in is_error(answer, 406)


# HTTP itself


def raw(server: Live, head: bytes, body: bytes = b"") -> bytes:
    """What the server sends back, byte for byte, until it closes."""
    address = urlsplit(server.url)
    fixed = f"Host: {address.netloc}\r\nX-API-Key: {server.key}\r\nConnection: close\r\n".encode()
    first, _, more = head.partition(b"\r\n")
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(first + b"\r\n" + fixed + more + b"\r\n" + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("path", [AGENTS, RUN])
@pytest.mark.parametrize("length", [b"-5", b"+5", b"abc", b"1.5", b"0x10"])
def test_a_content_length_that_is_no_length_is_refused(server: Live, agent: str, path: str, length: bytes) -> None:
    head = b"POST %s HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %s\r\n"
    assert raw(server, head % (path.format(agent=agent).encode(), length), b'{"name": "x"}').startswith(
        b"HTTP/1.1 400 "
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET /agents/\xff HTTP/1.1\r\n",
        b"GET /agents/?name=\xff HTTP/1.1\r\n",
        b"GET /agents/ HTTP/1.1\r\nno colon here\r\n",
        b"POST /agents/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        b"POST /agents/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ],
)
def test_what_is_not_http_is_refused(server: Live, head: bytes) -> None:
    assert raw(server, head, b"zz\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("head", [b"GET /agents/?%s HTTP/1.1\r\n", b"GET /agents/ HTTP/1.1\r\nX-A: %s\r\n"])
def test_an_endless_line_ends_the_connection(server: Live, head: bytes) -> None:
    """HTTP's own reader closes it; there is no request yet that could be answered."""
    try:
        answer = raw(server, head % (b"a" * 200_000))
    except ConnectionError:
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("key", ["é", "ключ", "\x80\xff", "a" * 10_000])
@pytest.mark.parametrize("path", [AGENTS, RUN])
def test_a_key_of_odd_characters_is_a_wrong_key(server: Live, agent: str, path: str, key: str) -> None:
    answer = httpx.post(server.url + path.format(agent=agent), json={}, headers={"X-API-Key": key.encode()})
    assert "not valid" in is_error(answer, 401)


def test_a_host_name_that_is_not_allowed_is_told_the_setting(server: Live) -> None:
    answer = server.client.get(AGENTS, headers={"Host": "evil.example.com"})
    assert "ALLOWED_HOSTS" in is_error(answer, 400)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        *(
            (f"limit={value}", "limit must be")
            for value in ("0", "101", "-1", "x", "1.5", "%ff", "\u0661", "9" * 5000, "1e3")
        ),
        *((f"page={value}", "page must be") for value in ("0", "-1", "x", "9" * 5000)),
        ("created_at_start=yesterday", "created_at_start must be"),
        ("updated_at_end=2025-13-01", "updated_at_end must be"),
        ("created_at_end=0001-01-01T00:00:00%2B14:00", "created_at_end must be"),
        ("name=%00", "NUL"),
        ("metadata.%00=x", "NUL"),
        ("&".join(["a=1"] * 1500), "DATA_UPLOAD_MAX_NUMBER_FIELDS"),
    ],
)
def test_a_query_that_cannot_be_read_is_400(server: Live, query: str, words: str) -> None:
    assert words in is_error(server.client.get(f"/agents/?{query}"), 400)


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=1001"])
def test_models_are_paged_by_whole_numbers(server: Live, query: str) -> None:
    is_error(server.client.get(f"/language-models/?{query}"), 400)


# POST /tools/upload


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("other", ("t.py", REPORTER))], "field 'file'"),
        ([("file", (None, REPORTER))], "field 'file'"),
        ([("file", ("t.py", b""))], "no tool class"),
        ([("file", ("a.py", REPORTER)), ("file", ("b.py", REPORTER))], "one file"),
        ([("file", ("t.py", b"}{"))], "not valid Python"),
        ([("file", ("t.py", b"x = 1"))], "no tool class"),
        ([("file", ("t.py", b"# \xff"))], "UTF-8"),
        ([("file", ("t.py", b"#" * 2_000_000))], "1,000,000 are allowed"),
    ],
)
def test_an_upload_without_one_tool_file_is_400(server: Live, files: Any, words: str) -> None:
    assert words in is_error(server.client.post(UPLOAD, files=files, data={"name": "refused"}), 400)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": "n" * 300}, "name: "),
        ({"name": "a\0b"}, "name: "),
        ({"version": "v" * 51}, "version: "),
        ({"framework": "f" * 51}, "framework: "),
        ({"tags": "t" * 10_001}, "tags: "),
        ({"description": "a\0b"}, "description: "),
    ],
)
def test_an_uploads_field_that_does_not_fit_is_400_and_named(server: Live, form: Json, words: str) -> None:
    assert words in is_error(server.client.post(UPLOAD, files={"file": ("t.py", REPORTER)}, data=form), 400)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_an_upload_that_is_no_form_is_415(server: Live, content_type: str) -> None:
    answer = server.client.post(UPLOAD, content=REPORTER, headers={"Content-Type": content_type})
    assert "multipart/form-data" in is_error(answer, 415)


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=bogus", "; boundary=é"])
def test_a_form_without_its_boundary_is_400(server: Live, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data{boundary}".encode()}
    is_error(server.client.post(UPLOAD, content=b"no form at all", headers=headers), 400)


@pytest.mark.parametrize("kind", ["files", "data"])
def test_a_form_of_a_thousand_parts_is_400(server: Live, kind: str) -> None:
    form: Json = {"files": [("file", ("t.py", REPORTER))], "data": {}}
    if kind == "files":
        form["files"] += [(f"f{i}", ("t.py", b"")) for i in range(1100)]
    else:
        form["data"] = {f"f{i}": "x" for i in range(1100)}
    assert "exceeded" in is_error(server.client.post(UPLOAD, **form), 400)


# POST /agents/

NOT_TEXT: list[Any] = [1, 1.5, True, [], {}, ["x"]]
NOT_OBJECT: list[Any] = [1, True, "x", [], [{}]]
NOT_LIST: list[Any] = [1, True, "x", {}, [1], [None], [["x"]]]
TEXTS = [
    "name", "instruction", "type", "framework", "version", "description", "language_model_id", "provider", "model_name"
]  # fmt: skip
OBJECTS = ["metadata", "tool_configs", "mcp_configs", "agent_config", "a2a_profile"]
LISTS = ["tools", "agents", "mcps", "skills"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in TEXTS for value in NOT_TEXT),
        *((field, value) for field in OBJECTS for value in NOT_OBJECT),
        *((field, value) for field in LISTS for value in NOT_LIST),
    ],
)
def test_an_agents_field_of_a_wrong_type_is_400_and_named(server: Live, field: str, value: Any) -> None:
    answer = server.client.post(AGENTS, json={"name": "refused", field: value})
    assert is_error(answer, 400).startswith((f"{field}: ", f"{field}."))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name: "),
        ({"name": None}, "name: "),
        ({"name": ""}, "name: "),
        ({"name": "  \n"}, "name: "),
        ({"name": "n" * 300}, "name: "),
        ({"name": "x", "version": "v" * 51}, "version: "),
        ({"name": "x", "type": "langflow"}, "type: "),
        ({"name": "x", "provider": "openai"}, "both provider and model_name"),
        ({"name": "x", "agents": [UNKNOWN]}, "agents: "),
        ({"name": "x", "mcps": [UNKNOWN]}, "mcps: "),
        ({"name": "x", "tools": [UNKNOWN]}, f"no tool with the id {UNKNOWN}"),
        ({"name": "x", "tools": ["no-uuid"]}, "no tool with the id no-uuid"),
        ({"name": "x", "tools": ["x" * MEGABYTE]}, "no tool with the id"),
        ({"name": "x", "tools": ["a"] * 10_001}, "at most 10000"),
        ({"name": "x", "skills": [1] * 1_000_000}, "at most 10000"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_agent_that_makes_no_sense_is_400(server: Live, body: Json, words: str) -> None:
    message = is_error(server.client.post(AGENTS, json=body), 400)
    assert words in message
    assert len(message) <= 2000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        *(
            ({"timeout_seconds": value}, "timeout_seconds must be a whole number of seconds above 0")
            for value in (0, -1, 1.5, "300", True, None, [], 1000 * YEAR, 10**400)
        ),
        ({"hitl_enabled": "yes"}, "hitl_enabled must be true or false"),
        ({"hitl_enabled": 1}, "hitl_enabled must be true or false"),
        ({"lm_provider": "openai"}, "both lm_provider and lm_name"),
        ({"lm_provider": "openai", "lm_name": ""}, "lm_name must be a text"),
        ({"lm_provider": ["openai"], "lm_name": "x"}, "lm_provider must be a text"),
        ({"lm_api_key": "sk-1"}, "keys are set on the server"),
        ({"lm_base_url": "https://elsewhere.example.com"}, "AIP_MODEL_BASE_URLS"),
        ({"lm_base_url": ["x"]}, "AIP_MODEL_BASE_URLS"),
        ({"lm_hyperparameters": []}, "lm_hyperparameters must be an object"),
        ({"lm_hyperparameters": {"api_key": "x"}}, "api_key is not accepted"),
        ({"lm_hyperparameters": {"temperature": "hot"}}, "temperature must be of the type"),
        ({"language_model": "openai/gpt-4.1"}, "language_model must be an object"),
        ({"language_model": {"id": "gpt"}}, "language_model must be an object"),
        ({"language_model": {"id": "openai/x", "credentials": {"k": "v"}}}, "keys are set on the server"),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("path", [AGENTS, RUN])
def test_an_agent_config_with_a_wrong_setting_is_400(
    server: Live, agent: str, path: str, config: Json, words: str
) -> None:
    """Also as an override of one run."""
    body = {"name": "x", "agent_config": config}
    if path == RUN:
        body = {"input": "x", "runtime_config": {"agent_config": config}}
    assert words in is_error(server.client.post(path.format(agent=agent), json=body), 400)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        *(
            ({"hitl": {"timeout_seconds": value}}, "hitl.timeout_seconds must be a number of seconds above 0")
            for value in (0, -1, -0.5, "180", True, None, [], 1000 * YEAR, 1e308, 10**400)
        ),
        ({"hitl": "yes"}, "hitl must be an object"),
        ({"hitl": True}, "hitl must be an object"),
        ({"hitl": []}, "hitl must be an object"),
        ({"timeout_seconds": 0}, "timeout_seconds must be a number"),
        ({"timeout_seconds": 3601}, "timeout_seconds must be a number"),
        ({"idempotent": "no"}, "idempotent must be true or false"),
        ({"destructive": 1}, "destructive must be true or false"),
        ("x", "must be an object"),
        ([], "must be an object"),
        (True, "must be an object"),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("path", [AGENTS, RUN])
def test_a_tool_config_with_a_wrong_setting_is_400(
    server: Live, agent: str, tool: Json, path: str, config: Any, words: str
) -> None:
    body: Json = {"name": "x", "tool_configs": {tool["id"]: config}}
    if path == RUN:
        body = {"input": "x", "runtime_config": {"tool_configs": {tool["id"]: config}}}
    assert words in is_error(server.client.post(path.format(agent=agent), json=body), 400)


@pytest.mark.parametrize("path", [AGENTS, RUN])
def test_one_tool_configured_under_two_spellings_is_400(server: Live, agent: str, tool: Json, path: str) -> None:
    configs = {tool["id"]: {"hitl": {}}, tool["id"].upper(): {}}
    body: Json = {"name": "x", "tool_configs": configs}
    if path == RUN:
        body = {"input": "x", "runtime_config": {"tool_configs": configs}}
    assert "twice" in is_error(server.client.post(path.format(agent=agent), json=body), 400)


# POST /agents/{id}/run


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input: "),
        ({"message": "x"}, "input: "),
        *(({"input": value}, "input: ") for value in (None, "", 1, True, [], {}, ["x"])),
        *(({"input": "x", "chat_history": value}, "chat_history") for value in (1, "x", {}, [1], ["x"], [[]], [{}])),
        ({"input": "x", "chat_history": [{"role": "user", "content": None}]}, "chat_history"),
        ({"input": "x", "chat_history": [1] * 1_000_000}, "chat_history"),
        *(({"input": "x", "runtime_config": value}, "runtime_config") for value in (1, "x", [], True)),
        ({"input": "x", "runtime_config": {"agent_config": []}}, "agent_config must be an object"),
        ({"input": "x", "runtime_config": {"agent_config": "x"}}, "agent_config must be an object"),
        ({"input": "x", "runtime_config": {"tool_configs": False}}, "tool_configs must be an object"),
        ({"input": "x" * 4_000_001}, "input: "),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_run_that_makes_no_sense_is_400_before_any_stream(server: Live, agent: str, body: Json, words: str) -> None:
    assert words in is_error(server.client.post(RUN.format(agent=agent), json=body), 400)


# POST /agents/hitl/decision


@pytest.mark.parametrize(
    "decision",
    ["pending", "timeout_skip", "cancelled", "APPROVED", "approved ", "", "yes", 1, True, None, [], ["approved"], {}],
    ids=repr,
)
def test_a_word_that_decides_nothing_is_400_and_told_the_words(server: Live, request_id: str, decision: Any) -> None:
    answer = server.client.post(DECISION, json={"request_id": request_id, "decision": decision})
    assert "one of approved, rejected, skipped" in is_error(answer, 400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decision": ...}, "one of approved, rejected, skipped"),
        ({"request_id": ...}, "request_id: "),
        *(({"request_id": value}, "request_id: ") for value in (None, "", 1, [], {}, "x" * 300)),
        *(({"operator_input": value}, "operator_input: ") for value in (1, True, [], {}, "x" * 20_001)),
        *(({"run_id": value}, "run_id: ") for value in (1, True, [], {}, "x" * 20_001)),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_decision_with_a_wrong_field_is_400_and_the_request_waits_on(
    server: Live, request_id: str, change: Json, words: str
) -> None:
    body = {"request_id": request_id, "decision": "approved"} | change
    answer = server.client.post(DECISION, json={key: value for key, value in body.items() if value is not ...})
    assert words in is_error(answer, 400)

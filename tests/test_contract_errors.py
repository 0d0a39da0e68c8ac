"""What an error says to programs: its id, its category, whether to try again, and which fields are to blame."""

import re
from typing import Any

import pytest

from aip.core import errors
from tests.live import Live
from tests.test_contract import UNKNOWN, UNKNOWN_RUN, is_error

GIVEN = "My.own:id-1_2"


def logged(server: Live, request_id: str) -> list[str]:
    lines = server.data_dir.with_suffix(".log").read_text().splitlines()
    return [line for line in lines if f"[request {request_id}]" in line]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/agents/"),
        ("GET", f"/agents/{UNKNOWN}"),
        ("GET", f"/agents/{UNKNOWN}/runs/{UNKNOWN_RUN}/stream"),
        ("GET", "/admin/login/"),
        ("HEAD", "/health-check"),
    ],
)
def test_a_response_has_the_id_that_its_request_brought(server: Live, method: str, path: str) -> None:
    answer = server.client.request(method, path, headers={"X-Request-ID": GIVEN})
    assert answer.headers.get_list("X-Request-ID") == [GIVEN]


def test_a_stream_has_the_id_that_its_request_brought(server: Live) -> None:
    agent = server.create_agent(name="with an id")
    with server.client.stream(
        "POST", f"/agents/{agent}/run", json={"input": "hello"}, headers={"X-Request-ID": GIVEN}
    ) as answer:
        assert answer.headers["X-Request-ID"] == GIVEN
        answer.read()


@pytest.mark.parametrize("given", ["", "with a space", "x" * 129, "<script>", "a\tb"])
def test_an_id_that_is_not_valid_is_replaced_by_a_new_one(server: Live, given: str) -> None:
    headers = {"X-Request-ID": given}
    first, second = (server.client.get(f"/agents/{UNKNOWN}", headers=headers).json() for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first["request_id"])
    assert first["request_id"] != second["request_id"]


def test_a_defect_of_the_server_has_its_id_in_the_log(server: Live) -> None:
    agent = server.create_agent(name="spoilt")
    server.write("UPDATE agents_agent SET agent_config = '[]' WHERE id = %s", agent)
    try:
        answer = server.client.get(f"/agents/{agent}", headers={"X-Request-ID": "of-a-defect"})
    finally:
        server.write("UPDATE agents_agent SET agent_config = '{}' WHERE id = %s", agent)
    body = answer.json()
    assert (answer.status_code, body["error_code"], body["category"]) == (500, "server_error", "server")
    assert (body["retryable"], body["request_id"]) == (False, "of-a-defect")
    (line,) = logged(server, "of-a-defect")
    assert f"/agents/{agent}" in line


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, [{"loc": ["name"], "msg": "name: This field is required.", "type": "required"}]),
        (
            {"name": "x", "tools": ["no-uuid", 5]},
            [{"loc": ["tools", "1"], "msg": "tools.1: This must be a text.", "type": "invalid"}],
        ),
        (
            {"name": 5, "instruction": 5},
            [
                {"loc": ["name"], "msg": "name: This must be a text.", "type": "invalid"},
                {"loc": ["instruction"], "msg": "instruction: This must be a text.", "type": "invalid"},
            ],
        ),
    ],
)
def test_the_fields_that_are_to_blame_are_named_each_with_a_whole_sentence(
    server: Live, body: Any, detail: list[Any]
) -> None:
    answer = server.client.post("/agents/", json=body)
    assert is_error(answer, 400) == " ".join(problem["msg"] for problem in detail)
    assert answer.json()["detail"] == detail


def test_a_parameter_and_a_field_of_a_form_are_named_too(server: Live) -> None:
    answer = server.client.get("/agents/", params={"limit": "x"})
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["limit"]]
    answer = server.client.post("/tools/upload", files={"file": ("t.py", b"x = 1\n")})
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["file"]]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", f"/agents/{UNKNOWN}", b"", 404),
        ("POST", "/agents/", b"[]", 400),
        ("POST", "/agents/", b"{", 400),
        ("DELETE", "/agents/", b"", 405),
        ("POST", "/agents/", b"x" * (8 * 1024**2 + 1), 413),
    ],
)
def test_an_error_of_no_single_field_has_no_detail(
    server: Live, method: str, path: str, content: bytes, status: int
) -> None:
    """The published client would show it in place of the message."""
    headers = {"Content-Type": "application/json"}
    answer = server.client.request(method, path, content=content, headers=headers)
    is_error(answer, status)
    assert "detail" not in answer.json()


def test_an_error_of_a_field_and_of_the_request_has_no_detail() -> None:
    mixed = {"non_field_errors": ["Both are missing."], "name": ["This is too long."]}
    status, body = errors.describe(errors.Invalid(mixed)) or (0, {})
    assert (status, body["message"]) == (400, "Both are missing. name: This is too long.")
    assert "detail" not in body

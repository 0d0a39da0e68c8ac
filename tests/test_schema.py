"""The OpenAPI description: open to all, valid, complete, and shown without anybody else's host."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest
import yaml
from django.core.management import call_command
from django.urls import get_resolver

from tests.live import Live
from tests.test_contract import ENDPOINTS, UNKNOWN, UNKNOWN_REQUEST, UNKNOWN_RUN, UNKNOWN_TOOL

Json = dict[str, Any]


@pytest.fixture(scope="module")
def described() -> Json:
    """Valid, and made without a warning: the command fails otherwise."""
    output = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=output)
    return yaml.safe_load(output.getvalue())


def test_it_is_served_without_a_key(server: Live, described: Json) -> None:
    for path in ("/schema", "/schema/"):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200
        assert yaml.safe_load(answer.text) == described


def test_the_docs_are_served_without_a_key_and_load_from_this_server_alone(server: Live) -> None:
    answer = httpx.get(f"{server.url}/docs/")
    assert answer.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert address.startswith("/static/")
        assert httpx.get(server.url + address).status_code == 200
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+", answer.text) == []


def operations(described: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def spelled(path: str) -> str:
    ids = {
        UNKNOWN: "{agent_id}",
        UNKNOWN_RUN: "{run_id}",
        UNKNOWN_TOOL: "{tool_id}",
        UNKNOWN_REQUEST: "{request_id}",
    }
    for value, name in ids.items():
        path = path.replace(value, name)
    return path


def test_every_endpoint_of_the_contract_is_described_as_it_is_spelled_there(described: Json) -> None:
    found = {(method, path) for method, path, _ in operations(described)}
    assert found == {(method, spelled(path)) for method, path in ENDPOINTS} | {("GET", "/health-check")}


def test_every_route_of_the_server_is_described(described: Json) -> None:
    routes: set[str] = set()
    for pattern in get_resolver().url_patterns:
        inner = getattr(pattern, "url_patterns", [pattern])
        routes |= {
            str(entry.pattern)
            for entry in inner
            if str(pattern.pattern) not in ("admin", "admin/", "^schema/?$", "^docs/?$")
        }
    paths = [re.sub(r"\{\w+\}", UNKNOWN, path).lstrip("/") for path in described["paths"]]
    assert len(routes) >= 15
    assert [route for route in routes if not any(re.match(route, path) for path in paths)] == []


def test_all_but_the_health_check_need_the_key(described: Json) -> None:
    assert described["components"]["securitySchemes"] == {
        "ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    }
    for _method, path, operation in operations(described):
        assert operation["security"] == [{} if path == "/health-check" else {"ApiKeyAuth": []}]


# As tests/test_contract.py, test_contract_run.py and test_bad_input.py see them.
STATUSES = {
    ("GET", "/agents/"): {"200", "400", "401"},
    ("POST", "/agents/"): {"201", "400", "401", "413", "415"},
    ("GET", "/agents/{agent_id}"): {"200", "401", "404"},
    ("PUT", "/agents/{agent_id}"): {"200", "400", "401", "404", "413", "415"},
    ("PATCH", "/agents/{agent_id}"): {"200", "400", "401", "404", "413", "415"},
    ("DELETE", "/agents/{agent_id}"): {"204", "401", "404"},
    ("POST", "/agents/{agent_id}/restore"): {"200", "401", "404", "409"},
    ("GET", "/agents/{agent_id}/runs"): {"200", "400", "401", "404"},
    ("GET", "/agents/{agent_id}/runs/{run_id}"): {"200", "401", "404"},
    ("POST", "/agents/{agent_id}/run"): {"200", "400", "401", "404", "413", "415"},
    ("GET", "/agents/{agent_id}/runs/{run_id}/stream"): {"200", "400", "401", "404"},
    ("POST", "/agents/{agent_id}/runs/{run_id}/cancel"): {"200", "401", "404", "409"},
    ("POST", "/agents/{agent_id}/runs/{run_id}/resume"): {"200", "401", "404", "409"},
    ("GET", "/agents/hitl/pending"): {"200", "401"},
    ("POST", "/agents/hitl/requests/{request_id}/extend"): {"200", "400", "401", "404", "409", "413", "415"},
    ("POST", "/agents/hitl/decision"): {"200", "400", "401", "404", "409", "413", "415"},
    ("GET", "/tools/"): {"200", "400", "401"},
    ("GET", "/tools/{tool_id}"): {"200", "401", "404"},
    ("PUT", "/tools/{tool_id}"): {"200", "400", "401", "404", "409", "413", "415"},
    ("DELETE", "/tools/{tool_id}"): {"204", "401", "404", "409"},
    ("PUT", "/tools/{tool_id}/upload"): {"200", "400", "401", "404", "409", "413", "415"},
    ("GET", "/tools/{tool_id}/script"): {"200", "401", "404"},
    ("POST", "/tools/upload"): {"200", "400", "401", "409", "413", "415"},
    ("GET", "/language-models/"): {"200", "400", "401"},
    ("GET", "/mcps/"): {"200", "401"},
    ("GET", "/health-check"): {"200"},
}


def test_every_status_that_an_endpoint_answers_is_described(described: Json) -> None:
    """406 and 503 may come anywhere but from a stream, which reads no Accept header."""
    for method, path, operation in operations(described):
        everywhere = {"503"} if path.endswith(("/run", "/stream")) else {"406", "503"}
        assert set(operation["responses"]) == STATUSES[method, path] | everywhere


def test_every_error_has_the_one_shape(described: Json) -> None:
    for _method, _path, operation in operations(described):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["description"]
                shape = response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                described_shape = described["components"]["schemas"][shape]
                assert set(described_shape["required"]) == {
                    *("success", "error", "message", "error_code", "category", "retryable", "request_id")
                }
                assert set(described_shape["properties"]) - set(described_shape["required"]) == {"detail"}

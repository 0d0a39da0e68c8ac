"""A client repeats what is answered with a 5xx, so a write that is committed is answered whatever happens then."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from agents.catalog import agents as agent_catalog
from tests.test_statements import SOURCE, upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


class AwayOnceWritten:
    """The database is away for every statement after the transaction that writes."""

    def __init__(self) -> None:
        self.has_written = False

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if self.has_written and not connection.in_atomic_block:
            raise OperationalError("the database is away")
        self.has_written |= sql.startswith(("INSERT", "UPDATE", "DELETE"))
        return execute(sql, *args)


@pytest.fixture
def client() -> Client:
    return Client(headers={"X-API-Key": settings.MASTER_API_KEY})


def form(number: int) -> tuple[bytes, str]:
    file = SimpleUploadedFile("tool.py", SOURCE.format(number=number).encode())
    return encode_multipart(BOUNDARY, {"file": file}), MULTIPART_CONTENT


def json(body: bytes = b'{"name": "x"}') -> tuple[bytes, str]:
    return body, "application/json"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/agents/", json),
        ("PUT", "/agents/{agent}", json),
        ("PATCH", "/agents/{agent}", json),
        ("DELETE", "/agents/{agent}", json),
        ("POST", "/agents/{deleted}/restore", json),
        ("POST", "/tools/upload", lambda: form(2)),
        ("PUT", "/tools/{tool}", json),
        ("PUT", "/tools/{tool}/upload", lambda: form(1)),
        ("DELETE", "/tools/{tool}", json),
    ],
)
def test_what_was_written_is_answered_though_the_database_is_gone(
    client: Client, method: str, path: str, body: Callable[[], tuple[bytes, str]]
) -> None:
    tool = upload(1)
    agent = agent_catalog.create(name="agent", tools=[tool])
    deleted = agent_catalog.create(name="deleted", tools=[tool])
    agent_catalog.delete(str(deleted.pk))
    agent_catalog.account_id.cache_clear()
    content, content_type = body()
    away = AwayOnceWritten()
    with connection.execute_wrapper(away):
        url = path.format(agent=agent.pk, deleted=deleted.pk, tool=tool.pk)
        answer = client.generic(method, url, content, content_type=content_type)
    assert away.has_written
    assert answer.status_code in (200, 201, 204), answer.content

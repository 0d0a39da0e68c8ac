"""A list costs the same few SQL statements however long it is."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents import roster, toolbox
from agents.models import Tool
from hitl import approvals
from hitl.models import ApprovalRequest, Source, Status
from tests.hitl.calls import open_one

SOURCE = """
from langchain_core.tools import BaseTool

class Tool{number}(BaseTool):
    name: str = "tool_{number}"
    description: str = "One of many."

    def _run(self) -> str:
        return ""
"""


def upload(number: int) -> Tool:
    return toolbox.upload(
        source=SOURCE.format(number=number).encode(),
        file_name="tool.py",
        name=None,
        framework="langchain",
        version="1.0",
        description=None,
        tags=[],
    )


def add_agent(number: int) -> None:
    roster.create(name=f"agent {number}", tools=[upload(2 * number), upload(2 * number + 1)])


def add_request(number: int) -> None:
    open_one(checkpoint_ns=f"tools:{number}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "add"), [("/agents/", add_agent), ("/tools/", upload), ("/agents/hitl/pending", add_request)]
)
def test_thirty_rows_cost_as_many_statements_as_one(
    django_assert_num_queries: Any, path: str, add: Callable[[int], Any]
) -> None:
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})

    def rows() -> int:
        body = client.get(path).json()
        return len(body if isinstance(body, list) else body["data"])

    add(0)
    with CaptureQueriesContext(
        connection,
    ) as one:
        assert rows() == 1
    for number in range(1, 30):
        add(number)
    with django_assert_num_queries(len(one)):
        assert rows() == 30
    assert len(one) <= 6


@pytest.mark.parametrize("page", ["/admin/inbox/", "/admin/inbox/{id}/"])
def test_the_console_costs_as_many_statements_for_thirty_requests_as_for_one(admin_client: Client, page: str) -> None:
    def statements() -> int:
        first = ApprovalRequest.objects.order_by("created_at")[0]
        url = page.format(id=first.pk)
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(url).status_code == 200
        return len(queries)

    def open_and_decide(number: int) -> None:
        operator = User.objects.get_or_create(username="decider")[0]
        for _ in range(number):
            open_one()
            decided = open_one()
            approvals.decide(decided.pk, decision=Status.REJECTED, by=operator, source=Source.API)

    open_and_decide(1)
    statements()
    few = statements()
    open_and_decide(29)
    assert statements() == few

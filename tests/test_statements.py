"""A list costs the same few SQL statements however long it is."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents.catalog import agents as agent_catalog
from agents.catalog import tools as tool_catalog
from agents.models import Agent, Tool
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
    return tool_catalog.upload(
        source=SOURCE.format(number=number).encode(),
        file_name="tool.py",
        name=None,
        framework="langchain",
        version="1.0",
        description=None,
        tags=[],
    )


def add_agent(number: int) -> None:
    agent_catalog.create(name=f"agent {number}", tools=[upload(2 * number), upload(2 * number + 1)])


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
    agent_catalog.account_id()
    with CaptureQueriesContext(connection) as one:
        first = rows()
    for number in range(1, 30):
        add(number)
    with django_assert_num_queries(len(one)):
        assert rows() == first + 29
    assert len(one) <= 6


MANY_TOOLS = """
    WITH numbers AS (SELECT generate_series(1, 10000) AS n),
    versions AS (
        INSERT INTO agents_toolversion (id, digest, file_name, source, class_name, tool_name, description, args_schema)
        SELECT gen_random_uuid(), '', '', '', '', n, '', '{}' FROM numbers RETURNING id, tool_name
    )
    INSERT INTO agents_tool (id, name, framework, version, description, tags, current_id)
    SELECT gen_random_uuid(), tool_name, '', '', '', '[]', id FROM versions
"""
MANY_AGENTS = """
    INSERT INTO agents_agent
        (id, name, instruction, type, framework, version, agent_config, tool_configs, metadata)
    SELECT gen_random_uuid(), n, '', '', '', '', '{}', '{}', '{}' FROM generate_series(1, 5000) AS n
"""
TWO_TOOLS_EACH = """
    INSERT INTO agents_agenttool (agent_id, tool_id, position)
    SELECT agent.id, tool.id, tool.name::int %% 2 FROM agents_agent AS agent
    JOIN agents_tool AS tool ON (tool.name::int + 1) / 2 = agent.name::int
"""


@pytest.mark.django_db
def test_five_thousand_agents_with_ten_thousand_tools_cost_as_many_statements_as_one(
    django_assert_num_queries: Any,
) -> None:
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    add_agent(0)
    agent_catalog.account_id()
    with CaptureQueriesContext(connection) as one:
        client.get("/agents/")
    Agent.objects.all().delete()
    Tool.objects.all().delete()
    with connection.cursor() as cursor:
        for statement in (MANY_TOOLS, MANY_AGENTS, TWO_TOOLS_EACH):
            cursor.execute(statement.replace("%%", "%"))
    with django_assert_num_queries(len(one)):
        body = client.get("/agents/").json()
    assert (body["total"], len(body["data"])) == (5000, 5000)
    assert {len(agent["tools"]) for agent in body["data"]} == {2}
    with django_assert_num_queries(len(one) + 1):  # for a page, all of them are counted besides
        assert len(client.get("/agents/", {"limit": 100, "name": "9", "include_deleted": "true"}).json()["data"]) == 100


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


def test_the_page_of_a_request_costs_as_many_statements_with_earlier_decisions_of_its_tool(
    admin_client: Client, django_assert_num_queries: Any
) -> None:
    request = open_one()
    page = f"/admin/inbox/{request.pk}/"
    admin_client.get(page)
    with CaptureQueriesContext(connection) as alone:
        admin_client.get(page)
    operator = User.objects.create(username="decider")
    for extras in ({"decision": Status.REJECTED}, {"decision": Status.SKIPPED, "answer": "Done by hand."}) * 3:
        earlier = open_one(tool_id=request.tool_id)
        approvals.decide(earlier.pk, by=operator, source=Source.API, **extras)
    with django_assert_num_queries(len(alone)):
        text = admin_client.get(page).text
    assert text.count(">Rejected<") + text.count(">Answered<") == 5

"""What runs every second or per request is served by an index, however much waits, and however much there was."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents.models import Agent, Run
from agents.runs import heartbeats, lifecycle, requeue
from agents.runs.worker import HeldRuns
from hitl import approvals
from hitl.console.cards import cards
from hitl.console.inbox import Filters, _choices

WAITING = 20_000
HISTORY = 100_000


@pytest.fixture
def much_waits(db: None) -> None:
    agent = Agent.objects.create(name="agent")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_run (id, agent_id, status, attempt, holder, input, spec, requeues, requeue_at,"
            " created_at, updated_at, deadline_at) SELECT gen_random_uuid(), %s, 'waiting', 1, '', '', '{}', 0, now(),"
            " now(), now(), now() + interval '1 day' FROM generate_series(1, %s)",
            [agent.pk, WAITING],
        )
        cursor.execute(
            "INSERT INTO hitl_approvalrequest (id, run_id, agent_id, agent_name, checkpoint_ns, round, reason, tool_id,"
            " tool_version, tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds,"
            " created_at, timeout_at, execution) SELECT gen_random_uuid(), id, agent_id, '', '', 1, '', agent_id, '',"
            " '', '', '{}', '{}', '{}', '', 'pending', 60, now(), now() + interval '1 hour', 'none' FROM agents_run"
        )
        cursor.execute("ANALYZE agents_run, hitl_approvalrequest")


@pytest.fixture
def much_history(transactional_db: None) -> Agent:
    """An agent with 100,000 runs, ten of which wait, among others' runs; vacuumed, as the database does by itself."""
    agents = [Agent.objects.create(name="agent") for _ in range(2)]
    with connection.cursor() as cursor:
        for agent, number in zip(agents, (HISTORY, HISTORY // 10), strict=True):
            cursor.execute(
                "INSERT INTO agents_run (id, agent_id, status, attempt, holder, input, spec, requeues, created_at,"
                " completed_at) SELECT gen_random_uuid(), %s, CASE WHEN n %% 10000 = 0 THEN 'waiting' ELSE 'succeeded'"
                " END, 1, '', repeat('x', 200), jsonb_build_object('text', repeat('x', 500)), 0,"
                " now() - n * interval '1 s', CASE WHEN n %% 10000 <> 0 THEN now() END"
                " FROM generate_series(1, %s) AS n",
                [agent.pk, number],
            )
        # What tests before rolled back would be a large part of its pages.
        cursor.execute("VACUUM FULL agents_run")
        cursor.execute("VACUUM ANALYZE agents_run")
    return agents[0]


def test_a_page_of_a_hundred_thousand_runs_and_their_number_are_served_by_an_index(much_history: Agent) -> None:
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    asked = {
        "": HISTORY,
        "page=5000": HISTORY,
        "status=started": 10,
        "status=success": HISTORY - 10,
        "status=failed": 0,
    }
    for query, total in asked.items():
        with CaptureQueriesContext(connection) as queries:
            body = client.get(f"/agents/{much_history.pk}/runs?{query}").json()
        assert (body["total"], len(body["data"])) == (total, min(total, 20))
        plans = [plan_of(q["sql"]) for q in queries if 'FROM "agents_run"' in q["sql"]]
        assert len(plans) == 2
        for plan in plans:
            assert "Seq Scan on agents_run" not in plan, plan
            assert "runs_of_agent_" in plan, plan


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(row[0] for row in cursor.fetchall())


PLACE = f"2000-01-01T00:00:00+00:00~{uuid.UUID(int=0)}"
LOOKS: dict[str, Callable[[], Any]] = {
    "overdue requests": approvals.time_out_overdue,
    "runs past their limit": lifecycle.end_overdue,
    "expired leases": requeue.release_expired,
    "what the queue has lost": requeue.requeue_lost,
    "what a worker holds": HeldRuns().check,
    "who is alive": heartbeats.alive,
    "a task for a parked run": lambda: lifecycle.claim(uuid.uuid4()),
    "a decision's look at the run": lambda: requeue.resume(uuid.uuid4()),
    "a page of the inbox": lambda: cards(User(is_superuser=True), Filters({}).from_here()[:50]),
    "a later page of one tool": lambda: cards(
        User(is_superuser=True), Filters({"tool": "x", "after": PLACE}).from_here()[:50]
    ),
    "a page of one agent": lambda: cards(User(is_superuser=True), Filters({"agent": "x"}).from_here()[:50]),
    "how many wait": lambda: Filters({}).requests()[:1001].count(),
    "what the filters offer": lambda: _choices("tool_name", "") + _choices("agent_name", ""),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_reads_no_table_from_end_to_end(much_waits: None, look: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        LOOKS[look]()
    said = [q["sql"] for q in queries if q["sql"].strip().startswith(("SELECT", "UPDATE", "WITH"))]
    assert said
    for sql in said:
        plan = plan_of(sql)
        assert "Seq Scan on agents_run" not in plan, plan
        assert "Seq Scan on hitl_approvalrequest" not in plan, plan
    assert Run.objects.filter(status="waiting").count() == WAITING

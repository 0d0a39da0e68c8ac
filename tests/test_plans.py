"""What runs every second is served by an index, however much waits."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents import heartbeats, runs
from agents.models import Agent, Run
from agents.worker import Watch
from hitl import approvals
from hitl.cards import cards
from hitl.inbox import Filters, _choices

WAITING = 20_000


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


PLACE = f"2000-01-01T00:00:00+00:00~{uuid.UUID(int=0)}"
LOOKS: dict[str, Callable[[], Any]] = {
    "overdue requests": approvals.time_out_overdue,
    "runs past their limit": runs.end_overdue,
    "expired leases": runs.lose_expired,
    "what the queue has lost": runs.requeue_lost,
    "what a worker holds": Watch().look,
    "who is alive": heartbeats.alive,
    "a task for a parked run": lambda: runs.claim(uuid.uuid4()),
    "a decision's look at the run": lambda: runs.resume(uuid.uuid4()),
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
    with connection.cursor() as cursor:
        for sql in said:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on agents_run" not in plan, plan
            assert "Seq Scan on hitl_approvalrequest" not in plan, plan
    assert Run.objects.filter(status="waiting").count() == WAITING

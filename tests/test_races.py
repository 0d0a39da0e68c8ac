"""Who comes second changes nothing: over HTTP, and at the verbs."""

import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client

from agents.models import REQUEUE_AFTER, Agent, Run, RunEvent
from agents.runs import broker, events, lifecycle, requeue
from aip.celery import app
from hitl import approvals, executions
from hitl.exceptions import AlreadyClosed
from hitl.models import ApprovalRequest, Decision, Source, Status
from tests.agents.runs import BeforeStatement
from tests.conftest import in_threads
from tests.hitl.calls import a_call, open_one
from tests.listener import Listener
from tests.live import Live, eventually

WORDS = ["approved", "rejected", "skipped"]


def test_of_two_hundred_deciders_one_wins_and_has_its_effect(
    server: Live, reporter: dict[str, Any], world: Listener
) -> None:
    agent = server.create_agent(
        tools=[reporter["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={reporter["id"]: {"hitl": {"timeout_seconds": 180}, "listener": world.url}},
    )
    stream = server.run(agent, "two hundred at once")
    request_id = stream.await_pending()[0]["hitl"]["request_id"]
    headers = {"X-API-Key": server.key}

    def decide(i: int) -> tuple[int, str]:
        body = {"request_id": request_id, "decision": WORDS[i % 3], "operator_input": f"by {i}"}
        answer = httpx.post(f"{server.url}/agents/hitl/decision", json=body, headers=headers, timeout=60)
        return answer.status_code, WORDS[i % 3]

    answers = in_threads(200, decide)
    (winner,) = [word for status, word in answers if status == 200]
    assert sum(status == 409 for status, _ in answers) == 199
    stream.finish()
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == winner
    assert server.rows("SELECT decision FROM hitl_decision WHERE request_id = %s", request_id) == [(winner,)]
    assert world.count("two hundred at once") == (1 if winner == "approved" else 0)


def closing(work: Any) -> Any:
    """`work` in a thread of its own, whose connection nobody else closes."""

    def run(i: int) -> Any:
        try:
            return work(i)
        finally:
            connection.close()

    return run


@pytest.mark.django_db(transaction=True)
def test_a_decision_and_the_deadline_cannot_both_win(alice: User) -> None:
    for _ in range(10):
        request = open_one(timeout_seconds=0.05)

        def one(i: int, pk: uuid.UUID = request.pk) -> bool:
            if i % 2:
                return approvals.time_out(pk)
            try:
                return bool(approvals.decide(pk, decision=Status.APPROVED, by=alice, source=Source.API))
            except AlreadyClosed:
                return False

        won = in_threads(6, closing(one))
        request.refresh_from_db()
        assert sum(won) == Decision.objects.filter(request=request).count() <= 1
        assert (request.status == Status.PENDING) == (sum(won) == 0)


@pytest.mark.django_db(transaction=True)
def test_a_decider_that_stands_still_delays_no_other_deadline() -> None:
    stuck = open_one(timeout_seconds=0.01)
    for _ in range(2):
        open_one(timeout_seconds=0.01)
    eventually(lambda: approvals.pending().count() == 0)
    with transaction.atomic():
        ApprovalRequest.objects.select_for_update().get(pk=stuck.pk)
        assert in_threads(1, closing(lambda _: approvals.time_out_overdue())) == [2]
    assert approvals.time_out_overdue() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_call_opened_by_two_workers_is_one_request() -> None:
    call = a_call()
    opened = in_threads(10, closing(lambda _: approvals.open_request(call, timeout_seconds=60, context={}).pk))
    assert len(set(opened)) == 1
    assert ApprovalRequest.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_right_to_run_an_approved_call_is_given_once(alice: User) -> None:
    request = open_one()
    approvals.decide(request.pk, decision=Status.APPROVED, by=alice, source=Source.API)
    claims = in_threads(10, closing(lambda _: executions.claim_execution(request.pk)))
    assert sum(claims) == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_is_claimed_by_one_worker() -> None:
    run = a_run()
    claims = in_threads(10, closing(lambda _: lifecycle.claim(run.pk)))
    assert sum(claim is not None for claim in claims) == 1


def append(run: Run, key: str) -> bool:
    with transaction.atomic():
        return events.append(events.locked(run.pk), key, {"metadata": {}})


@pytest.mark.django_db(transaction=True)
def test_events_written_at_once_are_numbered_without_a_gap() -> None:
    run = a_run()

    def write(i: int) -> bool:
        return all(append(run, f"{i}.{n}") for n in range(5))

    assert all(in_threads(12, closing(write)))
    assert list(RunEvent.objects.filter(run=run).values_list("seq", flat=True)) == list(range(1, 61))


@pytest.mark.django_db(transaction=True)
def test_the_same_report_by_two_workers_is_one_event() -> None:
    run = a_run()
    written = in_threads(8, closing(lambda _: append(run, "the same")))
    assert sum(written) == RunEvent.objects.count() == 1


def a_run() -> Run:
    return Run.objects.create(agent=Agent.objects.create(name="agent"), input="go", spec={"agent_name": "agent"})


@pytest.mark.django_db(transaction=True)
def test_a_run_that_the_queue_has_lost_is_queued_again_by_one_sweep_and_then_less_often() -> None:
    run, waiting = a_run(), a_run()
    broker.set_mark()
    Run.objects.filter(pk=run.pk).update(requeue_at=Now() - timedelta(seconds=1))
    in_threads(6, closing(lambda _: requeue.requeue_lost()))
    run.refresh_from_db()
    waiting.refresh_from_db()
    assert (run.requeues, waiting.requeues) == (1, 0)
    assert run.requeue_at - run.updated_at > REQUEUE_AFTER * 1.5
    assert requeue.requeue_lost() == 0


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_has_lost_its_memory_makes_every_run_that_waits_for_a_worker_due_at_once() -> None:
    """However often it was queued before, and however long the sweep would have waited for the next time."""
    broker.set_mark()
    run = a_run()
    Run.objects.update(requeues=9, requeue_at=Now() + timedelta(hours=1))
    assert requeue.requeue_lost() == 0
    with app.connection_for_write() as connection:
        connection.default_channel.client.flushall()
    assert requeue.requeue_lost() == 1
    assert broker.queued_run_ids() == {str(run.pk)}
    assert requeue.requeue_lost() == 0


@pytest.mark.django_db(transaction=True)
def test_an_agent_that_is_made_while_all_are_listed_pushes_none_of_them_out() -> None:
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    names = {"oldest"}
    Agent.objects.create(name="oldest")
    for number in range(1, 8):
        made = BeforeStatement(number, lambda number=number: Agent.objects.create(name=f"agent {number}"))
        with connection.execute_wrapper(made):
            body = client.get("/agents/").json()
        assert names <= {agent["name"] for agent in body["data"]}, f"with one made before statement {number}"
        assert (body["total"], body["limit"], body["has_next"]) == (len(body["data"]), len(body["data"]), False)
        names = set(Agent.objects.values_list("name", flat=True))

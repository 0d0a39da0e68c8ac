"""A run that waits longer gives up its thread, and goes on when it is decided; no wake-up is lost on the way."""

import itertools
import threading
import time
from typing import Any

import psutil
import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from agents.catalog import tools as tool_catalog
from agents.loop import model_answers
from agents.models import Run, RunEvent, RunStatus
from agents.runs import attempt, lifecycle, requeue
from agents.sandbox import hosts
from hitl.models import Execution
from tests.agents.runs import (
    await_requests,
    carried,
    carry,
    decide,
    fresh,
    gated_agent,
    in_thread,
    requests,
    start,
)
from tests.listener import Listener
from tests.live import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


@pytest.fixture
def at_once(settings: Any) -> None:
    """Nothing holds."""
    settings.HITL_HOLD_SECONDS = 0


def test_a_parked_run_holds_nothing_and_goes_on_when_it_is_decided(world: Listener, alice: User, settings: Any) -> None:
    settings.HITL_HOLD_SECONDS = 1
    run = start(gated_agent(world))
    threads = threading.active_count()
    parked = carried(run)
    assert (parked.status, parked.holder) == (RunStatus.WAITING, "")
    assert threading.active_count() <= threads
    decide(requests(run)["reporter"], "approved", alice)
    assert carried(run).status == RunStatus.SUCCEEDED
    assert world.count(run.input) == 1
    keys = [key.split(":")[0] for key in RunEvent.objects.filter(run=run).values_list("key", flat=True)]
    assert keys == ["opened", "begun", "calls", "pending", "result", "end"]


def test_a_task_without_news_does_not_take_a_parked_run(world: Listener, at_once: None) -> None:
    run = start(gated_agent(world))
    first = carried(run)
    assert carried(run).attempt == first.attempt == 1


WORDS = {"a": "approved", "b": "rejected", "c": "skipped"}


@pytest.mark.parametrize("hold", [0, 20], ids=["parked", "held"])
@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("abc")])
def test_three_calls_of_one_step_are_decided_in_any_order(
    world: Listener, alice: User, settings: Any, order: str, hold: int
) -> None:
    settings.HITL_HOLD_SECONDS = hold
    run = start(gated_agent(world, "a", "b", "c"))
    thread = carry(run)
    asked = await_requests(run, 3)
    for name in order:
        if hold == 0:
            thread.join(20)
        decide(asked[name], WORDS[name], alice)
        if hold == 0:
            thread = carry(run)
        # Each takes effect as it is decided, whatever the others do.
        eventually(lambda name=name: requests(run)[name].settled_at)
    thread.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED
    heard = [report["tool"] for report in world.heard if report["text"] == run.input]
    assert heard == ["a"]
    assert {name: request.status for name, request in requests(run).items()} == WORDS


def test_what_is_decided_while_another_call_of_the_step_runs_has_its_effect_at_once(
    world: Listener, alice: User, settings: Any
) -> None:
    """A run whose tool runs keeps its thread in any case, so its other calls go on listening, beyond the hold."""
    settings.HITL_HOLD_SECONDS = 1
    run = start(gated_agent(world, "a", "slow"), "wait for three seconds")
    thread = carry(run)
    asked = await_requests(run, 2)
    world.delays[run.input, "slow"] = 3.0
    decide(asked["slow"], "approved", alice)
    eventually(lambda: world.count(run.input))
    time.sleep(1.5)
    decide(asked["a"], "skipped", alice)
    eventually(lambda: requests(run)["a"].settled_at, 1.0)
    assert requests(run)["slow"].execution == Execution.STARTED
    thread.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED


def test_a_decision_between_the_last_look_and_the_parking_is_not_lost(
    world: Listener, alice: User, settings: Any
) -> None:
    """The decision finds a run that is held, so it queues nothing; whoever parks has to look once more."""
    settings.HITL_HOLD_SECONDS = 1
    run = start(gated_agent(world))
    thread = carry(run)
    asked = await_requests(run)["reporter"]
    with transaction.atomic():
        # The row is kept from the worker, which has looked at the request for the last time.
        Run.objects.select_for_update().get(pk=run.pk)
        eventually(somebody_waits_for_the_row)
        in_thread(lambda: decide(asked, "rejected", alice)).join(20)
        assert fresh(run).status == RunStatus.RUNNING
    thread.join(20)
    assert fresh(run).status == RunStatus.SUCCEEDED


def somebody_waits_for_the_row() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the same all along otherwise
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'agents_run'")
        return cursor.fetchone() is not None


def test_a_worker_whose_threads_are_taken_parks_at_once(
    world: Listener, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MOST_HELD", 1)
    agent = gated_agent(world)
    held, parked = start(agent), start(agent)
    thread = carry(held)
    await_requests(held)
    assert carried(parked).status == RunStatus.WAITING
    assert fresh(held).status == RunStatus.RUNNING
    decide(requests(held)["reporter"], "skipped", alice)
    thread.join(20)
    assert carried(held).status == RunStatus.SUCCEEDED


def test_a_run_with_more_calls_than_may_hold_parks_at_once(
    world: Listener, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that holds costs a thread and a connection with Redis."""
    monkeypatch.setattr(attempt, "MOST_HELD", 2)
    run = start(gated_agent(world, "a", "b", "c"))
    assert carried(run).status == RunStatus.WAITING
    decide(requests(run)["a"], "approved", alice)
    settings.HITL_HOLD_SECONDS = 1  # the two that are left may hold
    assert carried(run).status == RunStatus.WAITING
    assert requests(run)["a"].execution == Execution.FINISHED


def test_a_call_that_is_handed_over_too_late_is_handed_over_again_and_hurts_no_other(
    world: Listener, alice: User, settings: Any
) -> None:
    settings.LEASE_SECONDS = 2
    run = start(gated_agent(world, "late", "slow"))
    thread = carry(run)
    asked = await_requests(run, 2)
    world.delays[run.input, "slow"] = 6.0
    decide(asked["slow"], "approved", alice)
    eventually(lambda: world.count(run.input))
    host = hosts._places[""].host
    assert host is not None
    pid = host.process.pid
    # The keeper of the slow call, and the one that waits for the next.
    keepers = eventually(lambda: found if len(found := psutil.Process(pid).children()) == 2 else [])
    for keeper in keepers:
        keeper.suspend()
    try:
        decide(asked["late"], "approved", alice)
        eventually(lambda: requests(run)["late"].execution == Execution.STARTED)
        time.sleep(settings.LEASE_SECONDS + 0.2)
    finally:
        for keeper in keepers:
            keeper.resume()
    thread.join(30)
    assert fresh(run).status == RunStatus.SUCCEEDED
    assert {name: (r.execution, r.round) for name, r in requests(run).items()} == {
        "late": (Execution.FINISHED, 1),
        "slow": (Execution.FINISHED, 1),
    }
    assert world.count(run.input) == 2


@pytest.mark.parametrize("hold", [0, 20], ids=["parked", "held"])
def test_what_waits_for_a_tool_that_is_deleted_is_closed_and_the_model_is_told(
    world: Listener, settings: Any, hold: int
) -> None:
    settings.HITL_HOLD_SECONDS = hold
    run = start(gated_agent(world, "gone", "kept"))
    thread = carry(run)
    asked = await_requests(run, 2)
    if hold == 0:
        thread.join(20)
    in_thread(lambda: tool_catalog.delete(str(asked["gone"].tool_id))).join(10)
    if hold == 0:
        thread = carry(run)
    eventually(lambda: requests(run)["gone"].settled_at, 5)
    assert {name: r.status for name, r in requests(run).items()} == {"gone": "cancelled", "kept": "pending"}
    assert world.count(run.input) == 0
    (said,) = RunEvent.objects.filter(run=run, key__startswith="result:").values_list("payload__content", flat=True)
    assert said.startswith("This tool was deleted")
    lifecycle.cancel(run.pk, by="the test")
    thread.join(20)


def test_a_worker_that_is_asked_to_stop_parks(world: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()
    monkeypatch.setattr(attempt, "stopping", stopping)
    run = start(gated_agent(world))
    thread = carry(run)
    await_requests(run)
    stopping.set()
    thread.join(5)
    assert fresh(run).status == RunStatus.WAITING


def test_a_parked_run_that_the_queue_has_lost_is_queued_again(world: Listener, alice: User, at_once: None) -> None:
    run = start(gated_agent(world))
    assert carried(run).status == RunStatus.WAITING
    assert requeue.requeue_lost() == 0
    decide(requests(run)["reporter"], "approved", alice)
    assert requeue.requeue_lost() == 0  # it was queued just now
    Run.objects.update(requeue_at=run.created_at)
    assert requeue.requeue_lost() == 1
    assert requeue.requeue_lost() == 0


def test_the_last_of_very_many_calls_of_a_step_has_its_effect_though_the_others_wait(
    world: Listener, alice: User, at_once: None
) -> None:
    names = [f"call_{number}" for number in range(70)]
    run = start(gated_agent(world, *names))
    assert carried(run).status == RunStatus.WAITING
    asked = requests(run)
    assert len(asked) == 70
    for name in (names[-1], names[0], names[40]):
        decide(asked[name], "approved", alice)
        assert carried(run).status == RunStatus.WAITING
        assert requests(run)[name].execution == Execution.FINISHED
    assert world.count(run.input) == 3


def test_more_calls_in_one_step_than_are_carried_end_the_run_and_say_so(
    world: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_answers, "MAX_CALLS", 1)
    run = start(gated_agent(world, "a", "b"))
    assert carried(run).status == RunStatus.FAILED
    (said,) = RunEvent.objects.filter(run=run, key="end").values_list("payload__content", flat=True)
    assert said == "The model asked for 2 tools in one step; 1 are carried at most."
    assert requests(run) == {}

"""What a decision and a whole cycle cost the database: counted by the server itself, over all connections."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.db import connection

from agents.models import Run
from agents.runs import heartbeats
from tests.agents.runs import carried, carry, decide, gated_agent, requests, start
from tests.listener import Listener
from tests.live import eventually

LOG = configured.DATA_DIR / "postgres.log"
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*):\s*([A-Za-z]\w*)")
CONTROL = {"BEGIN", "COMMIT", "ROLLBACK", "SET"}


class Counted:
    statements = 0
    transactions = 0
    said = ""


@contextmanager
def counting() -> Iterator[Counted]:
    """What PostgreSQL logs meanwhile; a transaction is counted by its BEGIN."""
    found = Counted()
    before = LOG.stat().st_size
    yield found
    with LOG.open() as log:
        log.seek(before)
        found.said = log.read()
    words = [word.upper() for word in STATEMENT.findall(found.said)]
    found.statements = sum(word not in CONTROL for word in words)
    found.transactions = words.count("BEGIN")


@pytest.fixture
def logged(servers: None, transactional_db: None) -> Iterator[None]:
    def say(what: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM {what} log_statement" + (" = 'all'" if what == "SET" else ""))
            cursor.execute("SELECT pg_reload_conf()")
        connection.close()

    say("SET")
    with connection.cursor() as cursor:  # the configuration is read in a moment
        for _ in range(100):
            cursor.execute("SHOW log_statement")
            if cursor.fetchone() == ("all",):
                break
            cursor.execute("SELECT pg_sleep(0.02)")
    connection.close()
    yield
    say("RESET")


# The budget, in statements and transactions. Who changes it says in the commit what it buys.
DECISION = (4, 1)  # close, read, record the decision; queue its run if that is parked
PARKED = (78, 23)  # start, ask, park, approve, resume, run, end
HELD = (65, 18)  # start, ask, hold, approve, run, end


def test_a_decision_costs_four_statements_in_one_transaction(
    logged: None, world: Listener, alice: User, settings: Any
) -> None:
    settings.HITL_HOLD_SECONDS = 0
    run = start(gated_agent(world))
    carried(run)
    request = requests(run)["reporter"]
    with counting() as found:
        decide(request, "approved", alice)
    assert (found.statements, found.transactions) == DECISION, found.said


@pytest.mark.parametrize(("hold", "budget"), [(0, PARKED), (20, HELD)], ids=["parked", "held"])
def test_a_cycle_keeps_to_its_budget(
    logged: None, world: Listener, alice: User, settings: Any, hold: int, budget: tuple[int, int]
) -> None:
    settings.HITL_HOLD_SECONDS = hold
    agent = gated_agent(world)
    heartbeats.beat("worker")
    with counting() as found:
        run = start(agent)
        thread = carry(run)
        if hold:
            # Asked of the key that the call waits for, so that the question costs no statement.
            eventually(lambda: is_waited_for(run))
        else:
            thread.join(20)
        decide(requests(run)["reporter"], "approved", alice)
        if not hold:
            thread = carry(run)
        thread.join(20)
    assert world.count(run.input) == 1
    # But for the one that finds the request here.
    assert (found.statements - 1, found.transactions) == budget, found.said


def is_waited_for(run: Run) -> bool:
    client = redis.Redis.from_url(configured.REDIS_URL)
    return any(each["cmd"] == "blpop" and "b" in each["flags"] for each in client.client_list())

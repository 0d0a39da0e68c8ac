"""Compares the rows, Redis and the queue, and knows how to fix contradictions between them.

The server fixes most of them by itself, within seconds. What is found after that was left undone because processes are
not running, or because somebody changed rows by hand.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError

from agents.models import ENDED, REQUEUE_AFTER, Run, RunStatus
from agents.runs import broker, heartbeats, requeue
from hitl import approvals, cancellations
from hitl.models import ApprovalRequest, Execution, Status

# A wrong clock does no harm, but people compare times in logs.
CLOCK_SECONDS = 2.0
NAMED = 5


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. `fix` is None if a person has to do what `remedy` says."""

    problem: str
    remedy: str
    fix: Callable[[], object] | None = None


def examine() -> Iterator[Finding]:
    """Everything that is wrong now. Changes nothing."""
    if away := list(_database()):
        yield from away
        yield from _settings()
        return
    yield from _settings("default")
    if unapplied := list(_migrations()):
        yield from unapplied
        return  # tables that the other checks read may be missing
    yield from _clock()
    yield from _processes()
    yield from _leases()
    try:
        queued = broker.queued_run_ids()
    except (RedisError, BrokerError, OSError) as e:
        yield Finding(f"Redis cannot be reached ({type(e).__name__})", "start it, or correct REDIS_URL")
    else:
        yield from _lost_by_the_queue(queued)
    yield from _requests_without_runs()
    yield from _runs_without_requests()
    yield from _executions_of_ended_runs()


def _named(ids: Iterable[Any]) -> str:
    """How many, and the first of them."""
    found = [str(each) for each in ids]
    return f"{len(found)}: {', '.join(found[:NAMED])}{', ...' if len(found) > NAMED else ''}"


def _database() -> Iterator[Finding]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as e:
        yield Finding(f"PostgreSQL cannot be reached ({type(e).__name__})", "start it, or correct DATABASE_URL")


def _settings(*databases: str) -> Iterator[Finding]:
    """Checks that ask one of `databases` wait for it."""
    for message in checks.run_checks(databases=databases):
        if message.level >= checks.WARNING:
            remedy = message.hint or "see the table of settings"
            yield Finding(f"A setting is wrong: {str(message.msg).rstrip('.')}", remedy.rstrip("."))


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = _named(migration for migration, _ in plan)
        yield Finding(
            f"Migrations are not applied, {names}", "run migrate", partial(call_command, "migrate", verbosity=0)
        )


def _clock() -> Iterator[Finding]:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM statement_timestamp())::float8")
        (theirs,) = cursor.fetchone()
    ours = time.time()  # noqa: TID251 - whether the process's clock is right is the question
    difference = ours - theirs - (time.monotonic() - began) / 2
    if abs(difference) > CLOCK_SECONDS:
        which = "ahead of" if difference > 0 else "behind"
        yield Finding(
            f"This machine's clock is {abs(difference):.1f} s {which} the database's",
            "synchronise the clocks; deadlines are the database's and are kept all the same",
        )


def _processes() -> Iterator[Finding]:
    alive = heartbeats.alive()
    commands = {"worker": "celery -A aip worker", "sweep": "manage.py sweep"}
    for kind, command in commands.items():
        if kind not in alive:
            yield Finding(f"No {kind} is alive", f"start one: {command}")


def _leases() -> Iterator[Finding]:
    expired = list(requeue.with_expired_lease().values_list("pk", flat=True))
    if expired:

        def queue_them() -> None:
            requeue.release_expired()
            requeue.requeue_lost()

        yield Finding(f"Runs are held by workers that are gone, {_named(expired)}", "queue them again", queue_them)


def _lost_by_the_queue(queued: set[str]) -> Iterator[Finding]:
    is_old = Q(updated_at__lt=Now() - REQUEUE_AFTER)
    waiting = Run.objects.filter(is_old, status=RunStatus.QUEUED)
    undelivered = approvals.undelivered().filter(run_id=OuterRef("pk"), closed_at__lt=Now() - REQUEUE_AFTER)
    parked = Run.objects.filter(Exists(undelivered), status=RunStatus.WAITING)
    for found, problem in (
        (waiting, "Runs wait for a worker, and the queue has lost them"),
        (parked, "Runs whose calls were decided were never resumed"),
    ):
        lost = [pk for pk in found.values_list("pk", flat=True) if str(pk) not in queued]
        if lost:
            yield Finding(f"{problem}, {_named(lost)}", "queue them again", partial(_each, requeue.queue_again, lost))


def _each(verb: Callable[[UUID], object], ids: list[UUID]) -> None:
    for pk in ids:
        verb(pk)


def _of_living_runs() -> Exists:
    return Exists(Run.objects.filter(pk=OuterRef("run_id")).exclude(status__in=ENDED))


def _requests_without_runs() -> Iterator[Finding]:
    stray = ApprovalRequest.objects.filter(~_of_living_runs(), status=Status.PENDING)
    yield from _close(stray, "Requests wait for runs that have ended or are gone", "cancel them")


def _executions_of_ended_runs() -> Iterator[Finding]:
    stray = ApprovalRequest.objects.filter(~_of_living_runs(), execution=Execution.STARTED)
    yield from _close(stray, "Calls of runs that have ended count as running", "record that their outcome is unknown")


def _close(stray: QuerySet[ApprovalRequest], problem: str, remedy: str) -> Iterator[Finding]:
    found = dict(stray.values_list("pk", "run_id"))
    if found:
        end = partial(cancellations.end_with_runs, sorted(set(found.values())), timed_out=False)
        yield Finding(f"{problem}, {_named(found)}", remedy, end)


def _runs_without_requests() -> Iterator[Finding]:
    found = list(requeue.parked_without_requests().values_list("pk", flat=True))
    if found:
        yield Finding(
            f"Runs are parked and wait for no decision, {_named(found)}",
            "queue them; they go on from where they were",
            partial(_each, requeue.unpark, found),
        )

"""A worker's hold on a run: what it may still write, and when its waiting calls give the thread back.

A run that a worker has claimed is held under an attempt number and the worker's heartbeat, which is the lease of
all the runs that it holds. Every write of an attempt goes through a fence: a lock on the run's row, and a look
whether the run is still running under this number.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from agents.models import Heartbeat, Run, RunStatus
from agents.runs import heartbeats

# The fence as SQL, for what does not write through Django: parameters are the run's id and the attempt's number.
FENCE = "SELECT 1 FROM agents_run WHERE id = %s AND attempt = %s AND status = 'running' FOR SHARE"

# Calls of a run that was taken up enter the gate within moments; a count that is wrong must not hold the run.
MAX_RESUME_WAIT_SECONDS = 60.0
# How often a call that waits looks whether another one of its step has come to its end.
BUSY_SECONDS = 0.5


def within_limit() -> Q:
    """Of runs: not past their own limit."""
    return Q(deadline_at=None) | Q(deadline_at__gt=Now())


class Lost(Exception):
    """The run is not this attempt's any more: it ended, was cancelled, or another worker has it."""


class Attempt:
    """One claim of one run, by this process. Thread-safe: calls of one step share it."""

    # What is raised when the run is lost. The loop sets a kind that LangGraph does not take for a failure of a call.
    lost_as: type[Lost] = Lost

    def __init__(self, run_id: UUID, number: int, *, undelivered: int = 0) -> None:
        self.run_id = run_id
        self.number = number
        self.lost = False
        # Closed requests for whose sake the run was taken up: until they had their effect it does not park.
        self._undelivered = undelivered
        self._waiting = 0
        self._busy = 0
        self._since = time.monotonic()
        self._parking = False
        self._slots = 0
        self._stops: set[Callable[[], None]] = set()

    @contextmanager
    def writing(self) -> Iterator[Run]:
        """A transaction in which the run is this attempt's: its row, locked. Raises Lost."""
        with transaction.atomic():
            run = self._locked().first()
            if run is None or self.lost:
                raise self.abandon()
            yield run

    @contextmanager
    def starting(self) -> Iterator[float]:
        """As `writing`, for handing out the right to act: when, by time.monotonic(), it lapses with the lease."""
        began = time.monotonic()
        beat = Heartbeat.objects.filter(kind="worker", name=OuterRef("holder")).values("beat_at")[:1]
        with transaction.atomic():
            run = self._locked().annotate(age=Now() - Subquery(beat)).first()
            if run is None or self.lost:
                raise self.abandon()
            age: timedelta | None = run.age
            if age is None or age.total_seconds() > settings.LEASE_SECONDS / 2:
                heartbeats.beat("worker")  # late itself, perhaps because the database was away
                age = timedelta()
            yield began + settings.LEASE_SECONDS - age.total_seconds()

    def _locked(self) -> QuerySet[Run]:
        """The run while it is this attempt's; not past its own limit, at which the sweep fails it."""
        held = Run.objects.filter(within_limit(), pk=self.run_id, attempt=self.number, status=RunStatus.RUNNING)
        return held.only("status").select_for_update(no_key=True, of=("self",))

    def abandon(self) -> Lost:
        """Note that the run is lost, and end what runs for it; the exception to raise."""
        with _lock:
            self.lost = True
            stops = list(self._stops)
        for stop in stops:
            stop()
        return self.lost_as()

    @contextmanager
    def busy(self, *, gated: bool) -> Iterator[bool]:
        """While a call is carried out. False for a gated one that may not begin: the run parks already.

        It would keep those calls that have parked from having their effect until it ends.
        """
        with _lock:
            may = not (gated and self._parking)
            self._change(busy=1 if may else 0)
        try:
            yield may
        finally:
            with _lock:
                self._change(busy=-1 if may else 0)

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """While a tool runs that `stop` ends. Raises Lost."""
        with _lock:
            if self.lost:
                raise self.lost_as
            self._stops.add(stop)
        try:
            yield
        finally:
            with _lock:
                self._stops.discard(stop)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While a call waits for its decision."""
        with _lock:
            self._change(waiting=1)
        try:
            yield
        finally:
            with _lock:
                self._change(waiting=-1)

    def settled(self) -> None:
        """What was decided about one call has had its effect."""
        with _lock:
            self._undelivered -= 1

    def hold_left(self) -> float:
        """Seconds until to look again whether to park. While a tool runs, its run keeps its thread in any case."""
        return BUSY_SECONDS if self._busy else self._since + settings.HITL_HOLD_SECONDS - time.monotonic()

    def must_park(self) -> bool:
        """Whether the calls that wait shall give their threads back. Once it says so it stays so."""
        with _lock:
            if self._busy == 0 and not self._parking:
                is_over = self.hold_left() <= 0 or self._slots < self._waiting
                owes_nothing = self._undelivered <= 0 or time.monotonic() - self._since > MAX_RESUME_WAIT_SECONDS
                self._parking = is_stopping() or (is_over and owes_nothing)
            return self._parking

    def _change(self, *, waiting: int = 0, busy: int = 0) -> None:
        global _held
        self._waiting += waiting
        self._busy += busy
        self._since = time.monotonic()
        # All of them or none: one call that parks takes the others of its step with it.
        wanted = self._waiting if self._busy == 0 else 0
        _held -= self._slots
        self._slots = wanted if _held + wanted <= MOST_HELD else 0
        _held += self._slots


# Set when the worker is asked to stop: what waits parks.
stopping = threading.Event()
_lock = threading.RLock()
# Calls that hold, at most half as many as the worker has threads; a run that finds no room for its own parks at once.
MOST_HELD = settings.CELERY_WORKER_CONCURRENCY // 2
_held = 0
_carried: set[Attempt] = set()


def is_stopping() -> bool:
    return stopping.is_set()


@contextmanager
def carrying(attempt: Attempt) -> Iterator[None]:
    """While this process carries the run."""
    with _lock:
        _carried.add(attempt)
    try:
        yield
    finally:
        with _lock:
            _carried.discard(attempt)


def carried() -> dict[tuple[UUID, int], Attempt]:
    """What this process carries now, by run and number."""
    with _lock:
        return {(attempt.run_id, attempt.number): attempt for attempt in _carried}

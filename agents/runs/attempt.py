"""One claim of a run by a worker: its lease, its fencing token, and when its waiting calls give up their thread.

The worker's heartbeat is the lease on all the runs that it holds. The attempt's number is the fencing token: every
write of an attempt locks the run's row and checks that the run is still running under this number.
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

# The fence as SQL, for writes outside Django. The parameters are the run's id and the attempt's number.
FENCE = "SELECT 1 FROM agents_run WHERE id = %s AND attempt = %s AND status = 'running' FOR SHARE"

# Resumed calls re-enter the gate almost at once; cap the wait in case the count is wrong.
MAX_RESUME_WAIT_SECONDS = 60.0
# How often a waiting call checks whether the other calls of its step have finished.
BUSY_SECONDS = 0.5


def within_limit() -> Q:
    """Of runs: not past their own limit."""
    return Q(deadline_at=None) | Q(deadline_at__gt=Now())


class Lost(Exception):
    """This attempt no longer holds the run: it has ended, was cancelled, or was claimed by another worker."""


class Attempt:
    """One claim of one run, by this process. Thread-safe, because the calls of a step share it."""

    # What is raised when the run is lost. The loop sets a class that LangGraph does not treat as a failed call.
    lost_as: type[Lost] = Lost

    def __init__(self, run_id: UUID, number: int, *, undelivered: int = 0) -> None:
        self.run_id = run_id
        self.number = number
        self.lost = False
        # Decided requests this attempt was resumed for; the run does not park until each has been applied.
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
        """Like `writing`, but yields the time.monotonic() deadline until which this attempt may start a side effect."""
        entered = time.monotonic()
        beat = Heartbeat.objects.filter(kind="worker", name=OuterRef("holder")).values("beat_at")[:1]
        with transaction.atomic():
            run = self._locked().annotate(age=Now() - Subquery(beat)).first()
            if run is None or self.lost:
                raise self.abandon()
            age: timedelta | None = run.age
            if age is None or age.total_seconds() > settings.LEASE_SECONDS / 2:
                heartbeats.beat("worker")  # the heartbeat is late, perhaps because the database was unavailable
                age = timedelta()
            yield entered + settings.LEASE_SECONDS - age.total_seconds()

    def _locked(self) -> QuerySet[Run]:
        """The run while it is this attempt's; not past its own limit, at which the sweep fails it."""
        held = Run.objects.filter(within_limit(), pk=self.run_id, attempt=self.number, status=RunStatus.RUNNING)
        return held.only("status", "resumptions").select_for_update(no_key=True, of=("self",))

    def abandon(self) -> Lost:
        """Mark the run as lost, stop the tools that run for it, and return the exception to raise."""
        with _lock:
            self.lost = True
            stops = list(self._stops)
        for stop in stops:
            stop()
        return self.lost_as()

    def sleep(self, seconds: float) -> None:
        """Wait while the run is this attempt's. Raises Lost."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if self.lost:
                raise self.abandon()
            time.sleep(min(left, BUSY_SECONDS))

    @contextmanager
    def busy(self, *, gated: bool) -> Iterator[bool]:
        """Mark a call as running.

        Yields False if a gated call must not start because the run is already parking; starting it would delay the
        calls that have parked.
        """
        with _lock:
            may_start = not (gated and self._parking)
            self._change(busy=1 if may_start else 0)
        try:
            yield may_start
        finally:
            with _lock:
                self._change(busy=-1 if may_start else 0)

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Register `stop`, which ends a tool that runs, to be called if the run is lost. Raises Lost."""
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
        """Mark a call as waiting for its decision."""
        with _lock:
            self._change(waiting=1)
        try:
            yield
        finally:
            with _lock:
                self._change(waiting=-1)

    def mark_delivered(self) -> None:
        """Count one decided request as applied."""
        with _lock:
            self._undelivered -= 1

    def hold_left(self) -> float:
        """Seconds until `must_park` is to be checked again. While a tool runs, its run keeps the thread in any case."""
        return BUSY_SECONDS if self._busy else self._since + settings.HITL_HOLD_SECONDS - time.monotonic()

    def must_park(self) -> bool:
        """Whether the waiting calls must give up their threads. Once True, it stays True."""
        with _lock:
            if self._busy == 0 and not self._parking:
                hold_is_over = self.hold_left() <= 0 or self._slots < self._waiting
                all_delivered = self._undelivered <= 0 or time.monotonic() - self._since > MAX_RESUME_WAIT_SECONDS
                self._parking = is_stopping() or (hold_is_over and all_delivered)
            return self._parking

    def _change(self, *, waiting: int = 0, busy: int = 0) -> None:
        global _held
        self._waiting += waiting
        self._busy += busy
        self._since = time.monotonic()
        # All waiting calls of a run hold or none does: one that parks makes the others of its step park too.
        wanted = self._waiting if self._busy == 0 else 0
        _held -= self._slots
        self._slots = wanted if _held + wanted <= MOST_HELD else 0
        _held += self._slots


# Set when the worker is asked to stop: waiting calls park.
stopping = threading.Event()
_lock = threading.RLock()
# Waiting calls may hold at most half of the worker's threads; a run whose calls find no slots parks at once.
MOST_HELD = settings.CELERY_WORKER_CONCURRENCY // 2
_held = 0
_executing: set[Attempt] = set()


def is_stopping() -> bool:
    return stopping.is_set()


@contextmanager
def executing(attempt: Attempt) -> Iterator[None]:
    """Register an attempt that this process executes."""
    with _lock:
        _executing.add(attempt)
    try:
        yield
    finally:
        with _lock:
            _executing.discard(attempt)


def attempts_here() -> dict[tuple[UUID, int], Attempt]:
    """The attempts that this process executes now, by run and number."""
    with _lock:
        return {(attempt.run_id, attempt.number): attempt for attempt in _executing}

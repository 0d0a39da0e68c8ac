"""`manage.py sweep`: everything that happens by the clock. Needs only PostgreSQL, to repair what the queue loses."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError

from agents.runs import heartbeats, lifecycle, requeue, resumption
from aip.core.db import borrowed_connection
from hitl import approvals

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
# A check that comes later than this after the last one was held up, and so perhaps were the heartbeats.
LATE_SECONDS = 4.0


class Leases:
    """Releases runs whose lease has expired, but gives workers time to renew it after the database was away.

    The database may also have been away before the first check.
    """

    def __init__(self) -> None:
        self.trusted_from = 0.0
        self.checked_at = -math.inf

    def check(self) -> None:
        now = time.monotonic()
        if now - self.checked_at > LATE_SECONDS:
            self.trusted_from = now + settings.LEASE_SECONDS
        self.checked_at = now
        if now >= self.trusted_from:
            requeue.release_expired()


def every_second(stopped: threading.Event, seen: Callable[[], None], *duties: Callable[[], object]) -> None:
    """Do each duty, each failing on its own; retries while the database or the queue is away."""
    while not stopped.is_set():
        seen()
        for duty in duties:
            try:
                with borrowed_connection():
                    duty()
            except DatabaseError as e:
                logger.warning("The sweep waits for the database: %s", type(e).__name__)
                break
            except (BrokerError, RedisError, OSError) as e:
                logger.warning("The sweep waits for Redis: %s", type(e).__name__)
            except Exception:  # a sweep that stands still while it beats would be the worst case
                logger.exception("A duty of the sweep failed")
        stopped.wait(INTERVAL_SECONDS)


def duties_by_loop() -> dict[str, tuple[Callable[[], object], ...]]:
    """Each loop has a thread: neither a queue that does not answer nor many runs to end may delay a deadline."""
    return {
        "deadlines": (approvals.time_out_overdue, Leases().check, heartbeats.delete_stale),
        "limits": (lifecycle.end_overdue, resumption.delete_expired),
        "queue": (requeue.requeue_lost,),
    }


class Command(BaseCommand):
    help = "Keep deadlines, give lost runs to other workers and queue them again, every second. Two do no harm."

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        loops = duties_by_loop()
        watchdog = heartbeats.Watchdog(heartbeats.HEARTBEAT, *loops)
        work: list[tuple[str, Callable[..., None], tuple[Any, ...]]]
        work = [(heartbeats.HEARTBEAT, heartbeats.keep_beating, ("sweep", stopped, watchdog))]
        work += [(name, every_second, (stopped, partial(watchdog.seen, name), *loops[name])) for name in loops]
        threads = [threading.Thread(target=loop, args=args, name=name, daemon=True) for name, loop, args in work]
        for thread in threads:
            thread.start()
        watchdog.guard(stopped)
        for thread in threads:
            thread.join(timeout=5)

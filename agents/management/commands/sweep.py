"""`manage.py sweep`: the clockwork. Needs PostgreSQL alone, so that it can repair what the queue loses."""

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

from agents.runs import heartbeats, lifecycle
from aip.core.db import borrowed_connection
from hitl import approvals

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
# A look that comes later than this after the one before was held up, and so perhaps were the heartbeats.
LATE_SECONDS = 4.0


class Leases:
    """Judges leases, but not before others had time to renew theirs when the database was away for all.

    As it may have been, for all that is known at the first look.
    """

    def __init__(self) -> None:
        self.judge_from = 0.0
        self.looked_at = -math.inf

    def look(self) -> None:
        now = time.monotonic()
        if now - self.looked_at > LATE_SECONDS:
            self.judge_from = now + settings.LEASE_SECONDS
        self.looked_at = now
        if now >= self.judge_from:
            lifecycle.lose_expired()


def every_second(stopped: threading.Event, seen: Callable[[], None], *duties: Callable[[], object]) -> None:
    """Do each duty, each failing on its own; a database or queue that is away is waited for."""
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
            except Exception:  # a clockwork that stands still while it beats would be the worst of all
                logger.exception("A duty of the sweep failed")
        stopped.wait(INTERVAL_SECONDS)


def duties_by_loop() -> dict[str, tuple[Callable[[], object], ...]]:
    """Each loop has a thread: neither a queue that does not answer nor many runs to end may delay a deadline."""
    return {
        "deadlines": (approvals.time_out_overdue, Leases().look, heartbeats.forget_the_dead),
        "limits": (lifecycle.end_overdue,),
        "queue": (lifecycle.requeue_lost,),
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

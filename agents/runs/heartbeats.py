"""Heartbeats of workers and sweeps, in rows: which processes live is read from them. The only writer of Heartbeat."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from agents.models import Heartbeat
from aip.core.db import borrowed_connection

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
# A process whose last beat is older counts as dead.
STALE_SECONDS = 10
FORGET_SECONDS = 3600
HEARTBEAT = "heartbeat"
# More than one round can take while a database or a Redis does not answer, by the time-outs of their connections.
LONGEST_ROUND_SECONDS = 30


# A container that starts again has the host name and the process id of the one before.
_token = secrets.token_hex(4)


def name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{_token}"


def beat(kind: str) -> None:
    Heartbeat.objects.update_or_create(
        kind=kind, name=name(), defaults={"beat_at": Now()}, create_defaults={"beat_at": Now()}
    )


def alive() -> set[str]:
    """The kinds of which at least one process lives, by the database's clock."""
    recent = Now() - timedelta(seconds=STALE_SECONDS)
    return set(Heartbeat.objects.filter(beat_at__gt=recent).values_list("kind", flat=True))


def holders() -> QuerySet[Heartbeat]:
    """The workers whose lease has not expired."""
    return Heartbeat.objects.filter(kind="worker", beat_at__gt=Now() - timedelta(seconds=settings.LEASE_SECONDS))


def delete_stale() -> None:
    Heartbeat.objects.filter(beat_at__lt=Now() - timedelta(seconds=FORGET_SECONDS)).delete()


def stop(kind: str) -> None:
    Heartbeat.objects.filter(kind=kind, name=name()).delete()


class Watchdog:
    """Ends this process when one of its loops stands still, so that its supervisor starts another.

    A process that beats while it does not work, or works while it cannot beat, is worse than a dead one. Time is
    counted in watchdog ticks, so a process that was suspended as a whole is not taken for stuck.
    """

    def __init__(self, *loops: str) -> None:
        self.missed = dict.fromkeys(loops, 0)

    def seen(self, loop: str) -> None:
        self.missed[loop] = 0

    def guard(self, stopped: threading.Event) -> None:
        most = max(settings.LEASE_SECONDS, LONGEST_ROUND_SECONDS)
        while not stopped.wait(1):
            for loop in self.missed:
                self.missed[loop] += 1
                if self.missed[loop] > most:
                    logger.critical("The loop '%s' has stood still for %d s; this process ends itself", loop, most)
                    os._exit(1)


def keep_beating(
    kind: str, stopped: threading.Event, watchdog: Watchdog, on_beat: Callable[[], object] = lambda: None
) -> None:
    """Beat, and call `on_beat` after each beat, until `stopped`; retries while the database is away.

    Keeps its connection, so that waiting for the pool cannot delay a beat.
    """
    while not stopped.is_set():
        watchdog.seen(HEARTBEAT)
        try:
            beat(kind)
            on_beat()
        except DatabaseError as e:
            logger.warning("No heartbeat written: %s", type(e).__name__)
            connection.close()
        except Exception:  # a process that stops beating loses all runs that it holds, and all that it claims later
            logger.exception("A look at what depends on the heartbeat failed")
            connection.close()
        stopped.wait(INTERVAL_SECONDS)
    with borrowed_connection():
        stop(kind)

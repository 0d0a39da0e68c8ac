"""Heartbeats of workers and sweeps, in rows: who is alive is read, not asked. The only writer of Heartbeat."""

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
# A process that has not beaten for so long counts as dead.
STALE_SECONDS = 10
FORGET_SECONDS = 3600
HEARTBEAT = "heartbeat"
# More than a database or a Redis that does not answer takes of one round, by the time-outs of their connections.
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


def forget_the_dead() -> None:
    Heartbeat.objects.filter(beat_at__lt=Now() - timedelta(seconds=FORGET_SECONDS)).delete()


def stop(kind: str) -> None:
    Heartbeat.objects.filter(kind=kind, name=name()).delete()


class Watchdog:
    """Ends this process when one of its loops stands still, so that whoever keeps it alive starts another.

    A process that beats while it does not work, or works while it cannot beat, is worse than a dead one. The time
    is counted by the watchdog's own looks: a process that was stopped as a whole stands still nowhere.
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
    kind: str, stopped: threading.Event, watchdog: Watchdog, look: Callable[[], object] = lambda: None
) -> None:
    """Beat, and `look` after what depends on it, until `stopped`; a database that is away is waited for.

    Keeps its connection, so that no crowd at the pool makes a beat late.
    """
    while not stopped.is_set():
        watchdog.seen(HEARTBEAT)
        try:
            beat(kind)
            look()
        except DatabaseError as e:
            logger.warning("No heartbeat written: %s", type(e).__name__)
            connection.close()
        except Exception:  # who stops beating loses all that it holds, and everything that it takes after
            logger.exception("A look at what depends on the heartbeat failed")
            connection.close()
        stopped.wait(INTERVAL_SECONDS)
    with borrowed_connection():
        stop(kind)

"""Database connections are taken for a few statements and given back."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)
T = TypeVar("T")

# How long work that must not be lost waits for a database that is away.
PATIENCE_SECONDS = 120.0


@contextmanager
def borrowed_connection() -> Iterator[None]:
    """Give this thread's connection back to the pool at the end, unless a caller's transaction still needs it.

    For threads that no Django request ends for: Celery's, LangGraph's and the streams'.
    """
    try:
        yield
    finally:
        if not connection.in_atomic_block:
            connection.close()


def patiently(work: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
    """What `work` gives, tried again every second while the database is away; it must be harmless to repeat.

    Raises what `work` raised last, after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with borrowed_connection():
                return work()
        except (OperationalError, InterfaceError) as e:
            if time.monotonic() > deadline:
                raise
            logger.warning("Waiting for the database: %s", type(e).__name__)
            time.sleep(1)

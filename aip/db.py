"""Database connections are taken for a few statements and given back."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


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

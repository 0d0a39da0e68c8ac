"""Database connections are taken for a few statements and given back."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

import psycopg
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

# How long work that must not be lost waits for a database that is away.
PATIENCE_SECONDS = 120.0
# What Django, and psycopg where it is used without Django, say when the database is away.
AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


def from_now(seconds: float) -> Combinable:
    """A moment so many seconds from now, by the database's clock."""
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


@contextmanager
def one_moment() -> Iterator[None]:
    """A transaction whose statements all see the database as the first of them does. It cannot write."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


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


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that is harmless to repeat: it is retried every second while the database is unavailable.

    After PATIENCE_SECONDS it raises what the last try raised. Do not use it within a transaction.
    """

    @wraps(function)
    def retry(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with borrowed_connection():
                    return function(*args, **kwargs)
            except AWAY as e:
                if time.monotonic() > deadline:
                    raise
                logger.warning("Waiting for the database: %s", type(e).__name__)
                time.sleep(1)

    return retry

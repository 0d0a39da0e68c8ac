"""LangGraph's checkpoints in PostgreSQL: what a run has done so far, kept until it ends."""

import logging
from functools import cache
from typing import Any

from django.db import connection
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

POOL_SIZE = 8

# It logs every connection that the pool replaces.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _conninfo() -> str:
    """Where Django's own connections go, also under test, where the database has another name."""
    django = connection.settings_dict
    parts = {key: django[key.upper()] for key in ("user", "password", "host", "port") if django[key.upper()]}
    options = {key: value for key, value in django["OPTIONS"].items() if key != "pool"}
    return make_conninfo(dbname=django["NAME"], **parts, **options)


@cache
def _pool() -> ConnectionPool[Connection[DictRow]]:
    return ConnectionPool(
        _conninfo(),
        min_size=0,
        max_size=POOL_SIZE,
        max_idle=60,
        timeout=10,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        open=True,
    )


def saver() -> PostgresSaver:
    """A saver for one run: each has a lock of its own, over the shared pool."""
    return PostgresSaver(_pool())


def make_tables(**kwargs: Any) -> None:
    """Bring LangGraph's own tables up to date; after every `migrate`."""
    saver().setup()

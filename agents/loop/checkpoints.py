"""LangGraph's checkpoints in PostgreSQL: the state of a run, kept until it ends."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Connection, Cursor
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from agents.runs.attempt import FENCE, Attempt
from aip.core.db import patient

# LangGraph marks its writes by `pipeline=True` alone, and does not promise that; a write without it must fail.
READ_ONLY = "-c default_transaction_read_only=on"

# It logs every connection that the pool replaces.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _conninfo() -> str:
    """The address of Django's own connections; tests give the database another name."""
    django = connection.settings_dict
    parts = {key: django[key.upper()] for key in ("user", "password", "host", "port") if django[key.upper()]}
    options = {key: value for key, value in django["OPTIONS"].items() if key != "pool"}
    return make_conninfo(dbname=django["NAME"], **parts, **options)


@cache
def _pool() -> ConnectionPool[Connection[DictRow]]:
    """Connections that write only in `_writing`."""
    options = f"{connection.settings_dict['OPTIONS']['options']} {READ_ONLY}"
    return ConnectionPool(
        _conninfo(),
        min_size=0,
        max_size=settings.CHECKPOINT_POOL_SIZE,
        max_idle=10,
        timeout=settings.POOL_SECONDS,
        reconnect_timeout=settings.POOL_SECONDS,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row, "options": options},
        open=True,
    )


@contextmanager
def _writing(conn: Connection[DictRow]) -> Iterator[None]:
    """Open a transaction that may write."""
    conn.read_only = False  # it begins with READ WRITE
    try:
        with conn.transaction():
            yield
    finally:
        if conn.info.transaction_status == TransactionStatus.IDLE:  # else it is broken, and the pool drops it
            conn.read_only = None


class Saver(PostgresSaver):
    """The checkpoints of one attempt at a run. Each has a lock of its own, over the shared pool.

    Each write checks the attempt's fence in its own transaction. Reads and writes wait for an unavailable database.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(_pool())
        self.attempt = attempt

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        if not pipeline:  # a read
            with super()._cursor() as cursor:
                yield cursor
            return
        with _pool().connection() as conn, _writing(conn), conn.cursor(binary=True, row_factory=dict_row) as cursor:
            cursor.execute(FENCE, (self.attempt.run_id, self.attempt.number))
            if cursor.fetchone() is None:
                raise self.attempt.abandon()
            yield cursor

    @patient
    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return super().get_tuple(config)

    @patient
    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return super().put(config, checkpoint, metadata, new_versions)

    @patient
    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        super().put_writes(config, writes, task_id, task_path)


def make_tables(**kwargs: Any) -> None:
    """Create or update LangGraph's own tables. Called after every `migrate`."""
    with PostgresSaver.from_conn_string(_conninfo()) as saver:
        saver.setup()

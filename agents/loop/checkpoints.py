"""LangGraph's checkpoints in PostgreSQL: what a run has done so far, kept until it ends."""

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
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from agents.runs.attempt import FENCE, Attempt
from aip.core.db import patient

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
        max_size=settings.CHECKPOINT_POOL_SIZE,
        max_idle=10,
        timeout=settings.POOL_SECONDS,
        reconnect_timeout=settings.POOL_SECONDS,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        open=True,
    )


class Saver(PostgresSaver):
    """The checkpoints of one attempt at a run. Each has a lock of its own, over the shared pool.

    Writes stand behind the attempt's fence, in one transaction; a database that is away is waited for.
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
        with _pool().connection() as conn, conn.transaction(), conn.cursor(binary=True, row_factory=dict_row) as cursor:
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
    """Bring LangGraph's own tables up to date; after every `migrate`."""
    PostgresSaver(_pool()).setup()

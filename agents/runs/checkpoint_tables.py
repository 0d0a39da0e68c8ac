"""The tables of LangGraph's checkpoints, which `agents.loop.checkpoints` fills: what a run keeps until it ends."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def delete(run_ids: Sequence[UUID]) -> None:
    """Delete the checkpoints of runs that end, in the caller's transaction."""
    threads = [str(run_id) for run_id in run_ids]
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", [threads])  # noqa: S608 - our own constant

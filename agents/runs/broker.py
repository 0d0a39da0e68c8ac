"""The queue of runs. Redis may lose all of it: the rows are the record of what has to run."""

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from celery import current_app as app
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

logger = logging.getLogger(__name__)

# The name of the task, which messages of earlier versions of this server carry too.
EXECUTE_RUN = "agents.execute_run"
# Set once; missing means Redis has lost its data.
MARK = "aip:queue"


@contextmanager
def _redis() -> Iterator["Redis"]:
    """Raises kombu's OperationalError, RedisError."""
    with app.connection_for_write() as broker:
        yield broker.default_channel.client  # type: ignore[attr-defined]


@contextmanager
def best_effort(run_id: UUID) -> Iterator[None]:
    """Log that Redis is away; the sweep then queues the run within seconds."""
    try:
        yield
    except (OperationalError, RedisError, OSError) as e:
        logger.warning("Redis is away (%s); the sweep queues run %s", type(e).__name__, run_id)


def enqueue(run_id: UUID) -> None:
    """Put a run into the queue. Raises kombu's OperationalError when Redis is away."""
    app.send_task(EXECUTE_RUN, [str(run_id)], ignore_result=True)


def has_lost_data() -> bool:
    """Whether Redis has lost its data since `set_mark`."""
    with _redis() as client:
        return not client.exists(MARK)


def set_mark() -> None:
    with _redis() as client:
        client.set(MARK, "1")


def queued_run_ids() -> set[str]:
    """The ids of the runs in the queue, and of those that a worker has received and not yet begun."""
    with _redis() as client:
        waiting = [json.loads(message) for message in client.lrange(app.conf.task_default_queue, 0, -1)]
        received = [json.loads(message)[0] for message in client.hvals("unacked")]
    return {json.loads(base64.b64decode(message["body"]))[0][0] for message in (*waiting, *received)}

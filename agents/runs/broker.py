"""What the queue carries. Redis may lose all of it: the rows say what has to run."""

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
# There as long as Redis remembers.
MARK = "aip:queue"


@contextmanager
def _redis() -> Iterator["Redis"]:
    """Raises kombu's OperationalError, RedisError."""
    with app.connection_for_write() as broker:
        yield broker.default_channel.client  # type: ignore[attr-defined]


@contextmanager
def hurrying(run_id: UUID) -> Iterator[None]:
    """What Redis cannot take now the sweep queues within seconds."""
    try:
        yield
    except (OperationalError, RedisError, OSError) as e:
        logger.warning("Redis is away (%s); the sweep queues run %s", type(e).__name__, run_id)


def enqueue(run_id: UUID) -> None:
    """Put a run into the queue. Raises kombu's OperationalError when Redis is away."""
    app.send_task(EXECUTE_RUN, [str(run_id)], ignore_result=True)


def is_new() -> bool:
    """Whether Redis has lost its memory since `mark`."""
    with _redis() as client:
        return not client.exists(MARK)


def mark() -> None:
    with _redis() as client:
        client.set(MARK, "1")


def carried() -> set[str]:
    """The ids of the runs in it: those that wait for a worker, or were given to one that has not begun with them."""
    with _redis() as client:
        waiting = [json.loads(message) for message in client.lrange(app.conf.task_default_queue, 0, -1)]
        given = [json.loads(message)[0] for message in client.hvals("unacked")]
    return {json.loads(base64.b64decode(message["body"]))[0][0] for message in (*waiting, *given)}

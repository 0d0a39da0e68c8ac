"""The Redis key of a request: a doorbell that rings when it is closed. The row is the truth."""

import logging
import time
from functools import cache
from uuid import UUID

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

# A bell that nobody waits for goes away by itself.
KEY_TTL_SECONDS = 5
# The longest block on the key; then the row is read again, so a lost ring costs no more than this.
SLICE_SECONDS = 2.0


def closed_key(request_id: UUID) -> str:
    return f"hitl:closed:{request_id}"


@cache
def _ringing() -> "redis.Redis":
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)


@cache
def _blocking() -> "redis.Redis":
    # Longer than a block, which it must not cut short; but a server that went silent must not hold us.
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=SLICE_SECONDS + 2)


def wake(*request_ids: UUID) -> None:
    """Ring for requests that have just been closed. A list still rings for who comes a moment late.

    Raises redis.RedisError after at most two seconds when Redis is away.
    """
    pipe = _ringing().pipeline()
    for request_id in request_ids:
        pipe.lpush(closed_key(request_id), "1")
        pipe.expire(closed_key(request_id), KEY_TTL_SECONDS)
    pipe.execute()


def wait(request_id: UUID, seconds: float) -> None:
    """Block until the bell rings or `seconds`, at most SLICE_SECONDS, have passed."""
    seconds = max(0.05, min(seconds, SLICE_SECONDS))
    try:
        _blocking().blpop([closed_key(request_id)], timeout=seconds)
    except redis.MaxConnectionsError:  # very many calls of one step, one of which runs: they look at the rows
        time.sleep(min(seconds, 1.0))
    except redis.RedisError as e:
        logger.warning("Redis is away, looking at the row every %.0f s: %s", SLICE_SECONDS, type(e).__name__)
        time.sleep(min(seconds, 1.0))

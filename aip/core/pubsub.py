"""Hints on channel groups: "read again". They may be lost, so nothing but speed may depend on them."""

import asyncio
import logging
import threading
from concurrent.futures import Future
from functools import cache
from typing import Any

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One event loop per process for sending, because the channel layer keeps a connection per loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="hints", daemon=True).start()
    return loop


async def _send(group: str, message: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(2):
            await get_channel_layer().group_send(group, message)
    except Exception as e:  # noqa: BLE001 - whatever fails, a hint is only a hint
        logger.warning("No hint sent to %s: %s", group, type(e).__name__)


def send(group: str, message: dict[str, Any]) -> Future[None]:
    """Send `message` to everyone who listens to `group`, without waiting for it.

    Two that are under way at once may arrive in either order; what is given is done when it was sent, or failed.
    """
    return asyncio.run_coroutine_threadsafe(_send(group, message), _loop())

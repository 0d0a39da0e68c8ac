"""A stream's subscription to the hints about its run, over the run's channel group."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from channels.layers import get_channel_layer

from agents.runs import events

logger = logging.getLogger(__name__)

# How often a stream reads its rows while it cannot receive hints.
POLL_SECONDS = 1.0
# Pieces of the model's answer that are kept for a client which reads slowly.
MAX_PIECES = 1000


class Subscription:
    """The hints received, in order: pieces of the model's answer, and None where the rows have to be read again."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self._queue: deque[dict[str, Any] | None] = deque()

    def put_changed(self) -> None:
        """The rows have to be read again."""
        if not self._queue or self._queue[-1] is not None:
            self._queue.append(None)
        self.is_ready.set()

    def put_piece(self, piece: dict[str, Any]) -> None:
        """Dropped when the client is far behind: the events have the whole answer."""
        if len(self._queue) < MAX_PIECES:
            self._queue.append(piece)
            self.is_ready.set()

    def get(self) -> tuple[list[dict[str, Any]], bool]:
        """The pieces before the rows have to be read again, and whether they have to."""
        pieces: list[dict[str, Any]] = []
        has_changed = False
        while self._queue and not has_changed:
            piece = self._queue.popleft()
            if piece is None:
                has_changed = True
            else:
                pieces.append(piece)
        if not self._queue:
            self.is_ready.clear()
        return pieces, has_changed


@contextmanager
def subscribe(group: str) -> Iterator[Subscription]:
    """Subscribe to the hints about a run; while Redis is away, the clock replaces them."""
    subscription, over = Subscription(), asyncio.Event()
    task = asyncio.create_task(_listen(group, subscription, over))
    _listening.add(task)
    task.add_done_callback(_listening.discard)
    try:
        yield subscription
    finally:
        over.set()  # let the listener unsubscribe itself; cancelling it mid-subscribe would leak the channel


# asyncio itself does not keep a task.
_listening: set[asyncio.Task[None]] = set()
# A channel that stays subscribed: with no subscription the layer's receive loop sleeps, and the next stream misses up
# to 0.1 s of messages.
_lasting: list[str] = []


async def _listen(group: str, subscription: Subscription, over: asyncio.Event) -> None:
    layer = get_channel_layer()
    is_over = asyncio.ensure_future(over.wait())
    while not over.is_set():
        try:
            if not _lasting:
                _lasting.append(await layer.new_channel())
            channel = await layer.new_channel()
            receiving = asyncio.create_task(_receive(channel, subscription))
            try:
                await layer.group_add(group, channel)
                subscription.put_changed()  # a message may have come before the channel was subscribed
                await asyncio.wait({receiving, is_over}, return_when=asyncio.FIRST_COMPLETED)
                if receiving.done():
                    receiving.result()
            finally:
                receiving.cancel()  # the only way to make the layer forget the channel
                await asyncio.wait({receiving})
                await layer.group_discard(group, channel)
        except Exception as e:  # noqa: BLE001 - without hints a stream is slower, not broken
            logger.warning("A stream reads every %.0f s, it gets no hints: %s", POLL_SECONDS, type(e).__name__)
            await asyncio.wait({is_over}, timeout=POLL_SECONDS)
            subscription.put_changed()


async def _receive(channel: str, subscription: Subscription) -> None:
    layer = get_channel_layer()
    while True:
        message = await layer.receive(channel)
        if message["type"] == "run.said":
            # The event is made here: whoever can publish to Redis must not write what a client takes for a decision.
            subscription.put_piece(events.token(str(message["text"])))
        else:
            subscription.put_changed()

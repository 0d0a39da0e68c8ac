"""What a stream hears of its run, over the run's channel group."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

# How often a stream reads its rows while it cannot listen for hints.
POLL_SECONDS = 1.0
# Pieces of what the model says that are kept for a client which reads slowly.
MAX_PIECES = 1000


class Heard:
    """What hints said, in its order: pieces of what the model says, and None where the rows should be read again."""

    def __init__(self) -> None:
        self.something = asyncio.Event()
        self._said: deque[dict[str, Any] | None] = deque()

    def look(self) -> None:
        if not self._said or self._said[-1] is not None:
            self._said.append(None)
        self.something.set()

    def say(self, piece: dict[str, Any]) -> None:
        """Dropped when the client is far behind: the events say it all again."""
        if len(self._said) < MAX_PIECES:
            self._said.append(piece)
            self.something.set()

    def take(self) -> tuple[list[dict[str, Any]], bool]:
        """The pieces up to the next look at the rows, and whether it is due then."""
        pieces: list[dict[str, Any]] = []
        look = False
        while self._said and not look:
            piece = self._said.popleft()
            if piece is None:
                look = True
            else:
                pieces.append(piece)
        if not self._said:
            self.something.clear()
        return pieces, look


@contextmanager
def heard_of(group: str) -> Iterator[Heard]:
    """What is heard of a run: that its rows should be read again also by the clock, while Redis is away."""
    heard, over = Heard(), asyncio.Event()
    task = asyncio.create_task(_listen(group, heard, over))
    _listening.add(task)
    task.add_done_callback(_listening.discard)
    try:
        yield heard
    finally:
        over.set()  # it takes its leave by itself: one that is cancelled while it subscribes leaves its channel behind


# asyncio itself does not keep a task.
_listening: set[asyncio.Task[None]] = set()
# A channel that stays subscribed: without any the layer's reader sleeps, and the next stream is deaf for up to 0.1 s.
_lasting: list[str] = []


async def _listen(group: str, heard: Heard, over: asyncio.Event) -> None:
    layer = get_channel_layer()
    is_over = asyncio.ensure_future(over.wait())
    while not over.is_set():
        try:
            if not _lasting:
                _lasting.append(await layer.new_channel())
            channel = await layer.new_channel()
            hearing = asyncio.create_task(_hear(channel, heard))
            try:
                await layer.group_add(group, channel)
                heard.look()  # something may have come before the subscription stood
                await asyncio.wait({hearing, is_over}, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    hearing.result()
            finally:
                hearing.cancel()  # by which the layer forgets the channel; there is no other way
                await asyncio.wait({hearing})
                await layer.group_discard(group, channel)
        except Exception as e:  # noqa: BLE001 - without hints a stream is slower, not broken
            logger.warning("A stream reads every %.0f s, it gets no hints: %s", POLL_SECONDS, type(e).__name__)
            await asyncio.wait({is_over}, timeout=POLL_SECONDS)
            heard.look()


async def _hear(channel: str, heard: Heard) -> None:
    layer = get_channel_layer()
    while True:
        message = await layer.receive(channel)
        if message["type"] == "run.said":
            heard.say(message["event"])
        else:
            heard.look()

"""The console's websocket: sends which request changed; the page then reads it."""

import asyncio
import logging
from contextlib import suppress
from typing import Any
from uuid import UUID

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.db import Error
from redis import RedisError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hitl.on_commit import GROUP

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
# How often a socket looks whether its session and its permission still stand.
RECHECK_SECONDS = 30.0
# An application's own code; the registered "try again later" (1013) is not one that Daphne sends.
TRY_AGAIN_LATER = 4013


async def _until_connection_breaks() -> None:
    """Returns when this process's connection with Redis has broken: hints may have been lost in between.

    The channel layer reconnects by itself without notice.
    """
    client = Redis.from_url(
        settings.REDIS_URL,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=2,
        socket_timeout=2,
    )
    async with client:
        with suppress(RedisError, OSError):
            first = await client.client_id()
            while await client.client_id() == first:  # noqa: ASYNC110 - Redis tells nobody that it went
                await asyncio.sleep(WATCH_SECONDS)
    logger.warning("Redis went away; the open consoles are told to connect again")


class RedisWatch:
    """One watcher for all sockets of the process."""

    task: "asyncio.Task[None] | None" = None

    @classmethod
    def current(cls) -> "asyncio.Task[None]":
        if cls.task is None or cls.task.done():
            cls.task = asyncio.create_task(_until_connection_breaks())
        return cls.task


def _may_listen(user: User | AnonymousUser) -> bool:
    return user.is_active and user.is_staff and user.has_perm("hitl.view_approvalrequest")


async def _may_still_listen(session_key: str) -> bool:
    """By what stands in the rows now: the session may have ended, the password or the permissions have changed."""
    try:
        may: bool = await database_sync_to_async(_may_listen)(await get_user({"session": SessionStore(session_key)}))
    except Error as e:
        logger.warning("A console is told to connect again, as its session cannot be read: %s", type(e).__name__)
        return False
    return may


def close_when_unavailable(application: Any) -> Any:
    """Close a socket that cannot be served now: the page reconnects every few seconds, and a traceback for each attempt
    would add nothing to one line.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        try:
            await application(scope, receive, send)
        except (Error, RedisError, OSError) as e:
            logger.warning("A console cannot listen now: %s", type(e).__name__)
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})

    return serve


class ConsoleConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # the library has no types
    """Sends `{"id": "..."}` for each change of a request. Closes when hints stop, so that the page knows."""

    async def connect(self) -> None:
        self.closing: asyncio.Task[None] | None = None
        if not await database_sync_to_async(_may_listen)(self.scope["user"]):
            await self.close()  # before it was accepted: the handshake is refused
            return
        await self.channel_layer.group_add(GROUP, self.channel_name)
        self.closing = asyncio.create_task(self._close_with(RedisWatch.current()))
        await self.accept()

    async def _close_with(self, watch: "asyncio.Task[None]") -> None:
        while not watch.done() and await _may_still_listen(self.scope["session"].session_key):
            await asyncio.wait({watch}, timeout=RECHECK_SECONDS)
        await self.close(TRY_AGAIN_LATER)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Consoles have nothing to say; whatever comes is dropped."""

    async def request_changed(self, message: dict[str, Any]) -> None:
        with suppress(ValueError):  # an id, whatever else was published to the group
            await self.send_json({"id": str(UUID(str(message["id"])))})

    async def disconnect(self, code: int) -> None:
        if self.closing is not None:
            self.closing.cancel()
            with suppress(RedisError, OSError):
                await self.channel_layer.group_discard(GROUP, self.channel_name)

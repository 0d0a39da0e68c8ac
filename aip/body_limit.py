"""Refuse large request bodies before anything reads them."""

import json
from typing import Any

from django.conf import settings

from aip.errors import body


class BodyLimit:
    """ASGI middleware: 413 for a body over MAX_BODY_SIZE, whether it announces its length or not."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > settings.MAX_BODY_SIZE:
            await _refuse(send)
            return
        try:
            await self.application(scope, _Counted(receive), send)
        except _TooLarge:
            await _refuse(send)


class _TooLarge(Exception):
    pass


class _Counted:
    def __init__(self, receive: Any) -> None:
        self.receive = receive
        self.size = 0

    async def __call__(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.receive()
        self.size += len(message.get("body", b""))
        if self.size > settings.MAX_BODY_SIZE:
            raise _TooLarge
        return message


async def _refuse(send: Any) -> None:
    text = f"The body is larger than {settings.MAX_BODY_SIZE // 1024**2} MiB, which is the most that is read here."
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body("too_large", text)).encode()})

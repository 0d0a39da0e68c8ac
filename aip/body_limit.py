"""Refuse large request bodies: Daphne keeps no more of one than is read here, and the application answers 413."""

import json
from typing import Any

import daphne.server
from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings
from twisted.web import http

from aip.core.errors import body

# What the limit replaces in Daphne and Twisted. Neither promises that it stays.
REPLACED: list[tuple[Any, str]] = [
    (daphne.server, "HTTPFactory"),
    (http.HTTPChannel, "requestFactory"),
    (http.Request, "handleContentChunk"),
]


class BoundedRequest(WebRequest):  # type: ignore[misc] # the library has no types
    """Daphne hands a body on only when all of it has come: it must not keep whatever anybody sends.

    What is too much is read and dropped, so that the client hears the answer. Twisted's own reading of
    forms, which nobody uses here, would take ten times their size.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

    def process(self) -> None:
        """Drop a header by which anybody could choose the prefix of every address in the answer."""
        self.requestHeaders.removeHeader("daphne-root-path")
        super().process()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        room = settings.MAX_BODY_SIZE + 1 - self.content.tell()
        if room > 0:
            super().handleContentChunk(data[:room])


class BoundedFactory(HTTPFactory):  # type: ignore[misc] # the library has no types
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol


def bound_daphne() -> None:
    """Replace Daphne's factory, for which it has no setting: it reads this name when it starts.

    Raises AttributeError if a name is gone: to set it would have no effect then, and bodies would have no limit.
    """
    for owner, name in REPLACED:
        getattr(owner, name)
    daphne.server.HTTPFactory = BoundedFactory


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
    await send({"type": "http.response.body", "body": json.dumps(body(413, "too_large", text)).encode()})

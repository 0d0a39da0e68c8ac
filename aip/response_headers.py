"""What every HTTP response carries, whichever application answers."""

from typing import Any

from aip.core import request_id

READS = ("GET", "HEAD", "OPTIONS")
# A client that repeats a read by itself does so after this; what is away is usually back within seconds.
RETRY_AFTER = (b"retry-after", b"2")


class ResponseHeaders:
    """ASGI middleware: X-Request-ID, and Retry-After where a read is answered 503."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        added = [(b"x-request-id", request_id.begin(given.decode("latin-1")).encode())]

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                again = [RETRY_AFTER] if message["status"] == 503 and scope["method"] in READS else []
                message = {**message, "headers": [*message.get("headers", ()), *added, *again]}
            await send(message)

        await self.application(scope, receive, send_with_headers)

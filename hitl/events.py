"""Tell open consoles that a request opened or closed. They read the row."""

from uuid import UUID

from aip.core import pubsub

GROUP = "hitl.requests"


def announce(request_id: UUID, status: str) -> None:
    pubsub.send(GROUP, {"type": "request.changed", "id": str(request_id), "status": str(status)})

"""What this app does when a request is closed: its run goes on."""

from typing import Any
from uuid import UUID

from agents.runs import broker, lifecycle
from hitl.signals import request_closed


def _resume(*, run_id: UUID, **kwargs: Any) -> None:
    with broker.hurrying(run_id):
        lifecycle.resume(run_id)


def connect() -> None:
    request_closed.connect(_resume)

"""What this app does when a request is closed: its run goes on."""

from typing import Any
from uuid import UUID

from agents import queue, runs
from hitl.signals import request_closed


def _resume(*, run_id: UUID, **kwargs: Any) -> None:
    with queue.hurrying(run_id):
        runs.resume(run_id)


def connect() -> None:
    request_closed.connect(_resume)

"""What a Celery worker does besides its tasks: it beats, and keeps a warm sandbox."""

import threading
from typing import Any

from celery.signals import worker_ready, worker_shutdown

from agents import heartbeats, sandbox

_stopped = threading.Event()


def _begin(**kwargs: Any) -> None:
    sandbox.warm()
    threading.Thread(target=heartbeats.keep_beating, args=("worker", _stopped), name="heartbeat", daemon=True).start()


def _end(**kwargs: Any) -> None:
    _stopped.set()
    sandbox.close()


def connect() -> None:
    worker_ready.connect(_begin)
    worker_shutdown.connect(_end)

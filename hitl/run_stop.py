"""Ends the run of a request that is rejected: done by whoever has the runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from uuid import UUID

Stopping = Callable[[UUID, str], AbstractContextManager[None]]


def _nobody(run_id: UUID, reason: str) -> AbstractContextManager[None]:
    return nullcontext()


_stopping: Stopping = _nobody


def register(stopping: Stopping) -> None:
    """`stopping` locks a run when it is entered and ends it, for a reason, when it is left without an exception.

    It does both in the caller's transaction: a run is locked before its requests. One that has ended stays so.
    """
    global _stopping
    _stopping = stopping


def stopping(run_id: UUID, reason: str) -> AbstractContextManager[None]:
    return _stopping(run_id, reason)

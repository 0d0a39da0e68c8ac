"""What a Celery worker does besides its tasks: it beats, checks the runs that it holds, and keeps a sandbox ready."""

import logging
import threading
from typing import Any
from uuid import UUID

from agents.models import Run, RunStatus
from agents.runs import attempt, heartbeats, lifecycle
from agents.sandbox import client as sandbox

logger = logging.getLogger(__name__)
_stopped = threading.Event()


class HeldRuns:
    """Compares, at every beat, the runs that this process executes with those that it holds by their rows."""

    def __init__(self) -> None:
        self.strays: set[tuple[UUID, int]] = set()

    def check(self) -> None:
        """End the tools of lost runs; release a run that nothing here executes when it is seen twice in a row."""
        here = attempt.attempts_here()
        mine = Run.objects.filter(holder=heartbeats.name(), status=RunStatus.RUNNING)
        held = set(mine.values_list("pk", "attempt"))
        for key in here.keys() - held:
            here[key].abandon()
        strays = held - here.keys()
        for run_id, number in strays & self.strays:
            lifecycle.release(run_id, number)
        self.strays = strays


def on_ready(**kwargs: Any) -> None:
    """Warm the sandbox, then beat, whatever became of it: Celery logs what is raised here, and takes runs all the same.

    Celery delivers no task until this returns; readers of the heartbeat rely on that.
    """
    try:
        sandbox.warm()
    except sandbox.SandboxUnavailable as e:  # the first call tries again, and says so in its run
        logger.error("The helper that runs uploaded tools is not ready: %s", e)  # noqa: TRY400 - the text says it all
    finally:
        _beat()


def _beat() -> None:
    watchdog = heartbeats.Watchdog(heartbeats.HEARTBEAT)
    beating = ("worker", _stopped, watchdog, HeldRuns().check)
    threading.Thread(target=heartbeats.keep_beating, args=beating, name="heartbeat", daemon=True).start()
    threading.Thread(target=watchdog.guard, args=(_stopped,), name="watchdog", daemon=True).start()


def on_shutting_down(**kwargs: Any) -> None:
    """Let the calls that wait give their threads back."""
    attempt.stopping.set()


def on_shutdown(**kwargs: Any) -> None:
    _stopped.set()
    sandbox.close()

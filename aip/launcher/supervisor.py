"""Keeps the server's processes alive, and ends them all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aip.launcher import processes
from aip.launcher.data_dir import CannotStart

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
# A child that has lived as long as this is taken for healthy again.
STEADY_SECONDS = 10.0

Steps = tuple[tuple[signal.Signals, float], ...]


@dataclass
class Child:
    """A process to be kept alive. `start` raises CannotStart or OSError where it cannot."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_steps: Steps
    process: subprocess.Popen[bytes] | None = None
    delay: float = FIRST_DELAY
    started_at: float = 0.0
    due_at: float = 0.0

    def tend(self) -> None:
        """Take note of its death, and start it again when that is due."""
        if self.process is not None and self.process.poll() is not None:
            self.note_death(how_it_ended(self.process.returncode))
        elif self.process is None and time.monotonic() >= self.due_at:
            try:
                self.begin()
            except (CannotStart, OSError) as e:
                self.note_death(f"could not be started ({e})")

    def begin(self) -> None:
        self.started_at = time.monotonic()
        self.process = self.start()

    def note_death(self, how: str) -> None:
        now = time.monotonic()
        if now - self.started_at >= STEADY_SECONDS:
            self.delay = FIRST_DELAY
        say(f"{self.name} {how}; starting it again in {self.delay:g} s")
        self.process = None
        self.due_at = now + self.delay
        self.delay = min(2 * self.delay, LONGEST_DELAY)


def tend(family: Sequence[Child], seconds: float) -> None:
    """Look after each once, then pause."""
    for child in family:
        child.tend()
    processes.pause(seconds)


def stop(family: Sequence[Child]) -> None:
    """End those with the same steps together: first those that were started last."""
    groups: dict[Steps, list[subprocess.Popen[bytes]]] = {}
    for child in reversed(family):
        if child.process is not None:
            groups.setdefault(child.stop_steps, []).append(child.process)
    for steps, started in groups.items():
        processes.end(started, *steps)


def how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    return f"was ended by {signal.Signals(-status).name}"


def say(text: str) -> None:
    """Print, and go on where nobody reads any more."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError:
        # Also keeps the interpreter from failing when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

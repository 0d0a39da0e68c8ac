"""A private server: `manage.py up` in a new directory that nothing else uses, and its processes.

Nothing here accepts an address or a directory from outside, so a drill can only hurt the server that it started.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from aip.launcher import embedded, processes

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# Prefixes of the variables that configure a server; a private one inherits none of them.
OURS = ("AIP_", "OPENAI_", "DJANGO_", "HITL_")
THEIRS = ("DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")
T = TypeVar("T")


def eventually(fact: Callable[[], T], seconds: float = 20, why: str = "it did not come true") -> T:
    """Wait for the first true value of `fact` and return it; after `seconds` raise AssertionError with `why`."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{why} within {seconds:g} s")
        time.sleep(0.02)


class PrivateServer:
    """A running server: its address and key, its database, and the processes that can be killed."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, data_dir: Path) -> None:
        self.process = process
        self.url = url
        self.data_dir = data_dir
        self.key = embedded.secret(data_dir, "master-api-key")

    def http(self, timeout: float = 30) -> httpx.Client:
        """A client of its own, with the key."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": self.key}, timeout=timeout)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the server's own database."""
        with psycopg.connect(embedded.database_url(self.data_dir)) as connection:
            return connection.execute(sql, values).fetchall()

    def children(self, name: str) -> list[psutil.Process]:
        """The living processes that `up` started, by a part of their command line."""
        found = psutil.Process(self.process.pid).children()
        return [child for child in found if not processes.is_gone(child) and has_in_command_line(child, name)]

    def child(self, name: str) -> psutil.Process:
        """The process of that name; one that was killed is waited for."""
        return eventually(lambda: self.children(name), 60, f"no process named {name} was there")[0]

    def kill(self, name: str) -> None:
        """Kill a process of `up`, which starts it again, and wait until it is gone."""
        victim = self.child(name)
        victim.kill()
        eventually(lambda: processes.is_gone(victim))


def has_in_command_line(process: psutil.Process, text: str) -> bool:
    """Whether the command line of a process contains the text; false for a process that is gone by now."""
    with suppress(psutil.NoSuchProcess):
        return text in " ".join(process.cmdline())
    return False


@contextmanager
def running(
    port: int = 0, prepare: Callable[[Path], object] | None = None, *, python: str = sys.executable, **env: str
) -> Iterator[PrivateServer]:
    """A server with these settings and the defaults for the rest, until the end of the block.

    `prepare` is called with its directory before it starts. Raises AssertionError, with what it printed, when it does
    not start. What it printed meanwhile stands in a file beside its directory, `.log`, until the end.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="aip-private-", dir="/tmp"))
    data_dir.chmod(0o711)
    log = data_dir.with_suffix(".log")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS) and key not in THEIRS}
    try:
        if prepare:
            prepare(data_dir)
        with log.open("wb") as output:
            process = processes.spawn(
                [python, "manage.py", "up", "--data-dir", data_dir, "--port", str(port)],
                # So that it ends all that it started when we are killed.
                death_signal=signal.SIGTERM,
                cwd=CHECKOUT,
                env=clean | env | {"PYTHONUNBUFFERED": "1"},
                output=output,
            )
        try:
            yield PrivateServer(process, eventually(lambda: _address(process, log), START_SECONDS), data_dir)
        finally:
            processes.end([process], (signal.SIGTERM, STOP_SECONDS))
    finally:
        shutil.rmtree(data_dir)
        log.unlink(missing_ok=True)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The address that `up` prints when it is ready."""
    text = log.read_text()
    if process.poll() is not None:
        raise AssertionError(text)
    found = re.search(r"http://[0-9.]+:\d+", text)
    return found[0] if found else ""

"""A really running server (`manage.py up`), and a client that speaks to it as anybody would."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from aip import embedded
from aip.children import is_gone
from aip.management.commands import up

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = Path(__file__).resolve().parent / "tools"
OPENAI_KEY = "sk-the-servers-own-secret"
T = TypeVar("T")

Event = dict[str, Any]


def eventually(fact: Callable[[], T], seconds: float = 20) -> T:
    """The first true value of `fact`, for which it waits a bounded time."""
    deadline = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < deadline, f"it did not come true within {seconds} s"
        time.sleep(0.02)


def says(process: psutil.Process, word: str) -> bool:
    """Whether the command line of a process has the word; one that is gone by now has none."""
    with suppress(psutil.NoSuchProcess):
        return word in " ".join(process.cmdline())
    return False


class Live:
    """A server, its address, and its client."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, data_dir: Path) -> None:
        self.process = process
        self.url = url
        self.data_dir = data_dir
        self.key = (data_dir / "master-api-key").read_text().strip()
        self.client = httpx.Client(base_url=url, headers={"X-API-Key": self.key}, timeout=30)

    def upload(self, file: str | bytes, **fields: str) -> Event:
        source = (TOOLS / file).read_bytes() if isinstance(file, str) else file
        answer = self.client.post("/tools/upload", files={"file": ("tool.py", source)}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def create_agent(self, **fields: Any) -> str:
        answer = self.client.post("/agents/", json={"name": "agent", "instruction": "Do as you are asked."} | fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]["id"]

    def run(self, agent_id: str, text: str, **fields: Any) -> "Stream":
        return Stream(self, f"/agents/{agent_id}/run", {"input": text} | fields)

    def join(self, agent_id: str, run_id: str, after: int | None = None) -> "Stream":
        """The stream of a run again, after the event of that id."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        return Stream(self, f"/agents/{agent_id}/runs/{run_id}/stream", method="GET", headers=headers)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What stands in the server's own database."""
        with psycopg.connect(embedded.database_url(self.data_dir)) as connection:
            return connection.execute(sql, values).fetchall()

    def write(self, sql: str, *values: Any) -> None:
        """Change the server's database by hand."""
        with psycopg.connect(embedded.database_url(self.data_dir)) as connection:
            connection.execute(sql, values)

    def pending(self) -> list[Event]:
        answer = self.client.get("/agents/hitl/pending")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def child(self, name: str) -> psutil.Process:
        """The process that `up` started, by a part of its command line."""

        def found() -> list[psutil.Process]:
            children = psutil.Process(self.process.pid).children()
            return [c for c in children if not is_gone(c) and says(c, name)]

        return eventually(found, 60)[0]

    def kill(self, name: str) -> None:
        """Kill a process of `up`, which starts it again, and wait until it is gone."""
        victim = self.child(name)
        victim.kill()
        eventually(lambda: is_gone(victim))

    @contextmanager
    def another_worker(self, **env: str) -> Iterator[psutil.Process]:
        """One more worker, as on another machine; it is there when it beats."""
        alive = "SELECT count(*) FROM agents_heartbeat WHERE kind = 'worker' AND beat_at > now() - interval '4 s'"
        before = self.rows(alive)[0][0]
        command = [sys.executable, "-m", "celery", "-A", "aip", "worker", "--loglevel", "INFO"]
        ours = up.environment(self.data_dir) | {"DJANGO_SETTINGS_MODULE": "aip.settings"}
        ours |= {"HITL_HOLD_SECONDS": "1", "AIP_LEASE_SECONDS": "5"}
        with self.data_dir.with_suffix(".worker.log").open("a") as log:
            worker = subprocess.Popen(
                [*command, "--without-mingle", "--without-gossip"], cwd=CHECKOUT, env=ours | env, stdout=log, stderr=log
            )
        try:
            eventually(lambda: self.rows(alive)[0][0] > before, 60)
            yield psutil.Process(worker.pid)
        finally:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
            try:
                worker.wait(10)
            finally:
                worker.kill()

    def status(self, run_id: str) -> str:
        return self.rows("SELECT status FROM agents_run WHERE id = %s", run_id)[0][0]

    def decide(self, request_id: str, decision: str, note: str = "") -> httpx.Response:
        body = {"request_id": request_id, "decision": decision, "operator_input": note}
        return self.client.post("/agents/hitl/decision", json=body)


class Stream:
    """A run's event stream, read by a thread as it comes: of a run that it starts, or that it joins again."""

    def __init__(
        self, live: Live, path: str, body: Event | None = None, *, method: str = "POST", headers: Any = None
    ) -> None:
        self.lines: list[str] = []
        self.events: list[Event] = []
        self.ids: list[int] = []
        self.done = False
        self.status = 0
        self._response = live.client.stream(method, path, json=body, headers=headers, timeout=60)
        self._answer = self._response.__enter__()
        self.status = self._answer.status_code
        self.headers = self._answer.headers
        assert self.status == 200, self._answer.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # Cut short where a test kills the server; `done` tells.
        with suppress(httpx.TransportError):
            for line in self._answer.iter_lines():
                self.lines.append(line)
                if line == "data: [DONE]":
                    self.done = True
                elif line.startswith("id: "):
                    self.ids.append(int(line[4:]))
                elif line.startswith("data: "):
                    self.events.append(json.loads(line[6:]))

    @property
    def run_id(self) -> str:
        return self.headers["X-Run-ID"]

    def pendings(self) -> list[Event]:
        return [e["metadata"] for e in self.events if e["metadata"].get("hitl", {}).get("decision") == "pending"]

    def await_pending(self, number: int = 1) -> list[Event]:
        return eventually(lambda: found if len(found := self.pendings()) >= number else [])

    def result(self, request_id: str) -> Event:
        """The event that says what became of a request."""
        closed = [
            e
            for e in self.events
            if e["metadata"].get("hitl", {}).get("request_id") == request_id
            and e["metadata"]["hitl"]["decision"] != "pending"
        ]
        assert len(closed) == 1, closed
        return closed[0]

    def close(self) -> None:
        """Go away in the middle."""
        self._response.__exit__(None, None, None)

    def ended(self, seconds: float = 30) -> None:
        """Wait until the server has closed the stream."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the stream did not end: {self.lines}"
        self._response.__exit__(None, None, None)

    def finish(self, seconds: float = 30) -> Event:
        """The terminal event, when the server has closed the stream."""
        self.ended(seconds)
        return next(e for e in self.events if e.get("is_final"))


@contextmanager
def running(port: int = 0, **env: str) -> Iterator[Live]:
    """`manage.py up` with all that it starts, in a directory of its own."""
    data_dir = Path(tempfile.mkdtemp(prefix="aip-live-", dir="/tmp"))
    data_dir.chmod(0o711)
    log = data_dir.with_suffix(".log")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIP_", "OPENAI_", "DJANGO_"))}
    for name in ("DATABASE_URL", "REDIS_URL"):
        clean.pop(name, None)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--data-dir", str(data_dir), "--port", str(port)],
            cwd=CHECKOUT,
            env=clean | env | {"PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield Live(process, eventually(lambda: _address(process, log), 60), data_dir)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                process.kill()
            print(log.read_text()[-20_000:])  # noqa: T201 - pytest shows it when a test failed
            shutil.rmtree(data_dir)
            log.unlink()
            data_dir.with_suffix(".worker.log").unlink(missing_ok=True)


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    """The address that `up` prints when it is ready."""
    text = log.read_text()
    assert process.poll() is None, text
    found = re.search(r"http://[0-9.]+:\d+", text)
    return found[0] if found else ""

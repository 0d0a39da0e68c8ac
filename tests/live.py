"""A really running server (`manage.py up`), and a client that speaks to it as anybody would."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from aip.launcher import embedded, private_server
from aip.launcher.private_server import CHECKOUT, eventually

TOOLS = Path(__file__).resolve().parent / "tools"
OPENAI_KEY = "sk-the-servers-own-secret"
T = TypeVar("T")

Event = dict[str, Any]


class Live(private_server.PrivateServer):
    """A server, and its client."""

    def __init__(self, server: private_server.PrivateServer) -> None:
        super().__init__(server.process, server.url, server.data_dir)
        self.client = self.http()

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

    def write(self, sql: str, *values: Any) -> None:
        """Change the server's database by hand."""
        with psycopg.connect(embedded.database_url(self.data_dir)) as connection:
            connection.execute(sql, values)

    def pending(self) -> list[Event]:
        answer = self.client.get("/agents/hitl/pending")
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def another_worker(self, **env: str) -> Iterator[psutil.Process]:
        """One more worker, as on another machine; it is there when it beats."""
        alive = "SELECT count(*) FROM agents_heartbeat WHERE kind = 'worker' AND beat_at > now() - interval '4 s'"
        before = self.rows(alive)[0][0]
        command = [sys.executable, "-m", "celery", "-A", "aip", "worker", "--loglevel", "INFO"]
        ours = self.child("celery").environ()
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

    def await_pending(self, number: int = 1, seconds: float = 20) -> list[Event]:
        return eventually(lambda: found if len(found := self.pendings()) >= number else [], seconds)

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
def killed(server: Live, name: str) -> Iterator[None]:
    """One of the servers beneath is dead meanwhile; then `up` starts it again."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        server.child(name).send_signal(signal.SIGKILL)
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    port: int = 0, prepare: Callable[[Path], object] | None = None, *, python: str = sys.executable, **env: str
) -> Iterator[Live]:
    """`manage.py up` with all that it starts, in a directory of its own, which may be prepared."""
    with private_server.running(port, prepare, python=python, **env) as server:
        try:
            yield Live(server)
        finally:
            print(server.data_dir.with_suffix(".log").read_text()[-20_000:])  # noqa: T201 - shown when a test failed
            server.data_dir.with_suffix(".worker.log").unlink(missing_ok=True)


@contextmanager
def running_for_all(models_url: str, **options: str) -> Iterator[Live]:
    """A server that many tests share: each brings agents of its own."""
    with running(
        OPENAI_API_KEY=OPENAI_KEY,
        OPENAI_BASE_URL=models_url,
        AIP_MODELS="openai/gpt-4.1",
        AIP_MODEL_TIMEOUT_SECONDS="3",
        HITL_HOLD_SECONDS="1",  # so that calls are decided both while they hold and once they are parked
        **options,
    ) as server:
        yield server

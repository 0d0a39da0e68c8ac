"""A client of the server, as a user would write one, and what it measures."""

import json
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

TOOL = Path(__file__).with_name("clock_tool.py")
PATIENCE_SECONDS = 60.0


class Clock:
    """Hears the tool: when each text was reported, by the monotonic clock, which is the whole machine's."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self._heard: dict[str, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            at, _, text = self.socket.recv(65_536).decode().partition(" ")
            with self._changed:
                self._heard[text] = float(at)
                self._changed.notify_all()

    def when(self, text: str) -> float:
        with self._changed:
            if not self._changed.wait_for(lambda: text in self._heard, PATIENCE_SECONDS):
                raise TimeoutError(f"the tool was not heard: {text}")
            return self._heard[text]


@dataclass
class Cycle:
    """One run from its decision on: seconds."""

    to_tool: float
    to_end: float


@dataclass
class Asked:
    """A run that waits, its stream read by a thread."""

    text: str
    pending: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    request_id: str = ""
    run_id: str = ""
    ended_at: float = 0.0
    status: str = ""


class Client:
    """Starts runs of one agent and decides them."""

    def __init__(self, url: str, key: str, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self.http = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=PATIENCE_SECONDS, limits=limits)
        name = f"clock {uuid.uuid4()}"
        answer = self.http.post("/tools/upload", files={"file": ("clock.py", TOOL.read_bytes())}, data={"name": name})
        self.tool = answer.raise_for_status().json()["data"]["id"]
        self.agent = self.create_agent({"hitl": {"timeout_seconds": 86_400}, "port": clock.port})

    def create_agent(self, tool_config: dict[str, Any]) -> str:
        body = {
            "name": "bench",
            "tools": [self.tool],
            "agent_config": {"hitl_enabled": True},
            "tool_configs": {self.tool: tool_config},
        }
        answer: str = self.http.post("/agents/", json=body).raise_for_status().json()["data"]["id"]
        return answer

    def unit(self, number: int = 200) -> float:
        """Seconds of GET /agents/{id}, the median: what this machine and this server make of the simplest request."""
        return statistics.median(self._timed(f"/agents/{self.agent}") for _ in range(number))

    def _timed(self, path: str) -> float:
        began = time.perf_counter()
        self.http.get(path).raise_for_status()
        return time.perf_counter() - began

    def timed(self, path: str, number: int = 50) -> float:
        """Seconds of a GET, the median."""
        return statistics.median(self._timed(path) for _ in range(number))

    def start(self) -> Asked:
        asked = Asked(f"bench {uuid.uuid4()}")
        threading.Thread(target=self._follow, args=(asked,), daemon=True).start()
        return asked

    def _follow(self, asked: Asked) -> None:
        with self.http.stream("POST", f"/agents/{self.agent}/run", json={"input": asked.text}) as answer:
            asked.run_id = answer.headers["X-Run-ID"]
            for line in answer.iter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                hitl = event["metadata"].get("hitl")
                if hitl and hitl["decision"] == "pending":
                    asked.request_id = hitl["request_id"]
                    asked.pending.set()
                if event.get("is_final"):
                    asked.ended_at = time.monotonic()
                    asked.status = event["status"]
                    asked.ended.set()
                    return

    def start_detached(self) -> None:
        """Start a run, and go away."""
        with self.http.stream("POST", f"/agents/{self.agent}/run", json={"input": f"bench {uuid.uuid4()}"}) as answer:
            answer.raise_for_status()

    def approve(self, asked: Asked) -> Cycle:
        """Approve a run that waits, and follow it to its end. Raises TimeoutError, RuntimeError."""
        if not asked.pending.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"nothing was asked: {asked}")
        body = {"request_id": asked.request_id, "decision": "approved"}
        sent = time.monotonic()
        self.http.post("/agents/hitl/decision", json=body).raise_for_status()
        called = self.clock.when(asked.text)
        if not asked.ended.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"it did not end: {asked}")
        if asked.status != "success":
            raise RuntimeError(f"it failed: {asked}")
        return Cycle(called - sent, asked.ended_at - sent)


@contextmanager
def clock() -> Iterator[Clock]:
    made = Clock()
    try:
        yield made
    finally:
        made.socket.close()

"""Hears what the tests' tools do to the world."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[dict[str, Any]] = []
        # Seconds for which the answer to a tool is kept back, by what it reports and its name.
        self.delays: dict[tuple[str, str], float] = {}
        # What happens while a tool waits for its answer.
        self.meanwhile: Callable[[], object] = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def count(self, text: str) -> int:
        return sum(report["text"] == text for report in self.heard)


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append(report)
        self.server.meanwhile()
        time.sleep(self.server.delays.get((report["text"], report["tool"]), 0))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def listening() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)

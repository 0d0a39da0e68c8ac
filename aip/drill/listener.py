"""Receives what the calls of the drill's tool report: their effect outside the server."""

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Listener(socketserver.ThreadingTCPServer):
    """`received`: how often each text was reported."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.received: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.port: int = self.server_address[1]


class _Call(socketserver.StreamRequestHandler):
    server: Listener

    def handle(self) -> None:
        text = self.rfile.read().decode()
        with self.server.lock:
            self.server.received[text] += 1
        self.wfile.write(b"+")


@contextmanager
def listening() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, name="listener", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)

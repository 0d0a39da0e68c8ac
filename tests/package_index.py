"""An index of packages on loopback (PEP 503), with wheels that it makes itself."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def wheel(name: str, version: str, source: str, *requires: str) -> bytes:
    """A pure wheel of one module, which is called like its package."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(path, text)
    return buffer.getvalue()


class Index(ThreadingHTTPServer):
    """What it was asked for stands in `asked`; while `open` is not set, it sends no wheel."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheels: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.url = f"http://127.0.0.1:{self.server_port}/simple"

    def add(self, name: str, version: str, source: str, *requires: str) -> None:
        self.wheels[f"{name}-{version}-py3-none-any.whl"] = wheel(name, version, source, *requires)


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.endswith(".whl"):
            self.server.open.wait(60)
            self._send(self.server.wheels.get(self.path.rpartition("/")[2]), "application/octet-stream")
            return
        project = self.path.strip("/").rpartition("/")[2].replace("-", "_")
        found = {name: data for name, data in self.server.wheels.items() if name.startswith(f"{project}-")}
        links = [f'<a href="/files/{n}#sha256={hashlib.sha256(d).hexdigest()}">{n}</a>' for n, d in found.items()]
        self._send("<br>".join(links).encode() if links else None, "text/html")

    def _send(self, data: bytes | None, kind: str) -> None:
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving() -> Iterator[Index]:
    index = Index()
    thread = threading.Thread(target=index.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.open.set()
        index.shutdown()
        index.server_close()
        thread.join(5)

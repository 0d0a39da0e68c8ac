"""Runs uploaded tools, in a process of their own each, through a warm helper (`agents.sandbox.host`)."""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agents.sandbox import protocol
from agents.sandbox.manifest import Description, ToolRejected, checked
from agents.sandbox.protocol import MAX_OUTPUT_BYTES

START_SECONDS = 60  # a first start may have to compile the packages
HANDOVER_SECONDS = 10
GRACE_SECONDS = 15  # beyond a call's own limit, for its processes to be ended and its files removed
LOST = b"-"


class ToolFailed(Exception):
    """A call failed; the text is for the model and the operator."""


class SandboxUnavailable(Exception):
    """No uploaded tool can run on this server now; the text says why."""


class TooLate(Exception):
    """The call was handed over after the moment until which it might start; it did not start."""


class Stop:
    """Ends a call from another thread, with all its processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.called = False
        self._call: socket.socket | None = None

    def __call__(self) -> None:
        with self._lock:
            self.called = True
            if self._call is not None:
                with suppress(OSError):
                    self._call.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def ends(self, call: socket.socket) -> Iterator[None]:
        """While `call` is under way. Raises ConnectionError if it shall not begin any more."""
        with self._lock:
            if self.called:
                raise ConnectionError("stopped")
            self._call = call
        try:
            yield
        finally:
            with self._lock:
                self._call = None


def call(
    source: str,
    *,
    class_name: str,
    fields: Mapping[str, Any],
    arguments: Mapping[str, Any],
    timeout: float,
    start_before: float | None = None,
    stop: Stop | None = None,
) -> str:
    """What the tool returns: text as it is, other values as JSON. `start_before` is a time.monotonic().

    Raises ToolFailed, SandboxUnavailable, TooLate.
    """
    request = {
        "class_name": class_name,
        "fields": dict(fields),
        "arguments": dict(arguments),
        "start_before": start_before,
    }
    kind, text = _exchange(source, request, timeout, stop or Stop())
    if kind == protocol.TOO_LATE:
        raise TooLate
    if kind != protocol.RESULT:
        raise ToolFailed(_explain("The tool", kind, text, timeout))
    return text


def describe(source: str, *, timeout: float = 20) -> Description:
    """Load the file and ask its tool what it is. Raises ToolRejected, SandboxUnavailable."""
    kind, text = _exchange(source, {"class_name": None}, timeout, Stop())
    if kind != protocol.RESULT:
        raise ToolRejected(_explain("Loading the file", kind, text, timeout))
    return checked(text)


def _explain(subject: str, kind: bytes, text: str, timeout: float) -> str:
    match kind:
        case protocol.FAILED:
            return text
        case protocol.TIMED_OUT:
            return f"{subject} was stopped after {timeout:g} seconds."
        case protocol.EXITED:
            return f"{subject} ended its process (exit code {text}) and gave no result."
        case protocol.KILLED:
            return f"{subject} was killed by {text}; it may have used too much memory."
        case protocol.TOO_LARGE:
            return f"{subject} returned more than {MAX_OUTPUT_BYTES:,} bytes."
        case protocol.GARBLED:
            return f"{subject} gave a result that cannot be read."
    return f"{subject} was cut off: its process was lost before it answered, and what it did is not known."


def _exchange(source: str, request: dict[str, Any], timeout: float, stop: Stop) -> tuple[bytes, str]:
    whole = json.dumps({"source": source, "timeout": timeout, **request}).encode()
    answer = _attempt(whole, timeout, stop) or _attempt(whole, timeout, stop)
    if answer is None:
        raise SandboxUnavailable("The helper that runs uploaded tools ended twice; see the server's log.")
    kind, payload = answer
    if kind == protocol.UNAVAILABLE:
        raise SandboxUnavailable(payload.decode())
    try:
        return kind, payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return protocol.GARBLED, ""


def _attempt(request: bytes, timeout: float, stop: Stop) -> tuple[bytes, bytes] | None:
    """None when the helper ended before it began the call. Closing our end is all it takes to end the tool."""
    taken = False
    with _new_call() as ours:
        ours.settimeout(timeout + GRACE_SECONDS)
        try:
            with stop.ends(ours):
                protocol.send(ours, protocol.RESULT, request)
                answer = protocol.receive(ours)
                if taken := answer[0] == protocol.TAKEN:
                    answer = protocol.receive(ours)
        except TimeoutError:
            return LOST, b""
        except OSError:
            return (LOST, b"") if taken or stop.called else None
    return answer


class _Host:
    """The helper process and our end of its control socket, whose closing ends it."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                _command(fd),
                pass_fds=[fd],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # not to be ended by a Ctrl-C before the calls are
            )
        try:
            self.control.settimeout(START_SECONDS)
            kind, text = protocol.receive(self.control)
            self.control.settimeout(HANDOVER_SECONDS)
        except OSError as e:
            self.end()
            raise SandboxUnavailable("The helper that runs uploaded tools did not start; see the server's log.") from e
        if kind != protocol.RESULT:
            self.end()
            raise SandboxUnavailable(text.decode())

    def end(self) -> None:
        self.control.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _command(control: int) -> list[str]:
    ours = str(Path(__file__).resolve().parents[2])
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    start = "import sys; sys.path.insert(0, sys.argv[1]); from agents.sandbox.host import main; main()"
    return [sys.executable, "-I", "-X", "utf8", "-c", start, ours, str(control), *packages]


_lock = threading.Lock()
_host: _Host | None = None


def warm() -> None:
    """Start the helper now, so that the first call need not wait for it. Raises SandboxUnavailable."""
    with _lock:
        _living_host()


def close() -> None:
    """End the helper; a later call starts another. Calls that are under way come to their end."""
    with _lock:
        _end_host()


def _living_host() -> _Host:
    global _host
    if _host and _host.process.poll() is not None:
        _end_host()
    if _host is None:
        _host = _Host()
    return _host


def _end_host() -> None:
    global _host
    if _host:
        _host.end()
    _host = None


def _new_call() -> socket.socket:
    """Our end of a call, the other end of which the helper has. A helper that ends just now drops it."""
    ours, theirs = socket.socketpair()
    with theirs, _lock:
        try:
            _hand_over(theirs)
        except OSError:  # it ended, or takes no calls any more
            _end_host()
            try:
                _hand_over(theirs)
            except OSError as e:
                ours.close()
                raise SandboxUnavailable(f"The helper that runs uploaded tools cannot be started: {e}.") from e
    return ours


def _hand_over(call: socket.socket) -> None:
    socket.send_fds(_living_host().control, [b"c"], [call.fileno()])


def _forget() -> None:
    """In a fork of this process: the helper belongs to the parent."""
    global _host, _lock
    _lock = threading.Lock()
    if _host:
        _host.control.close()
    _host = None


os.register_at_fork(after_in_child=_forget)
atexit.register(close)

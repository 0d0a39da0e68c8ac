"""The warm helpers (`agents.sandbox.host`) of this process: started when they are needed, replaced when they end."""

import atexit
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from agents.sandbox import protocol
from agents.sandbox.limits import Limits

START_SECONDS = 60  # a first start may have to compile the packages
HANDOVER_SECONDS = 10
# Helpers at once: one for tools without packages of their own, and those of the environments that were used last.
MAX_HOSTS = 5


class SandboxUnavailable(Exception):
    """No uploaded tool can run on this server now; the text says why."""


class _Host:
    """A helper process and our end of its control socket, whose closing ends it."""

    def __init__(self, packages: str) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                _command(fd, packages),
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


def _command(control: int, packages: str) -> list[str]:
    ours = str(Path(__file__).resolve().parents[2])
    theirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    theirs += [packages] if packages else []
    start = "import sys; sys.path.insert(0, sys.argv[1]); from agents.sandbox.host import main; main()"
    return [sys.executable, "-I", "-X", "utf8", "-c", start, ours, str(control), _limits.to_json(), *theirs]


class _Place:
    """Where the helper of one environment is. Calls of other environments do not wait while it starts."""

    def __init__(self, packages: str) -> None:
        self.packages = packages
        self.lock = threading.Lock()
        self.host: _Host | None = None

    def living(self) -> _Host:
        """Raises SandboxUnavailable. The caller holds the lock."""
        if self.host and self.host.process.poll() is not None:
            self.end()
        self.host = self.host or _Host(self.packages)
        return self.host

    def end(self) -> None:
        """The caller holds the lock."""
        if self.host:
            self.host.end()
        self.host = None

    def hand_over(self, call: socket.socket) -> None:
        socket.send_fds(self.living().control, [b"c"], [call.fileno()])


_limits = Limits()
_lock = threading.Lock()
# By the directory of the packages that its tools have, "" for none; the one that was used last stands last.
_places: dict[str, _Place] = {}


def _place_of(packages: str) -> _Place:
    with _lock:
        place = _places.pop(packages, None) or _Place(packages)
        _places[packages] = place
        others = [name for name in _places if name not in ("", packages)]
        unused = [_places.pop(name) for name in others[: max(0, len(_places) - MAX_HOSTS)]]
    for each in unused:
        with each.lock:
            each.end()
    return place


def configure(limits: Limits) -> None:
    """For the helpers that are started from now on."""
    global _limits
    _limits = limits


def warm() -> None:
    """Start the helper now, so that the first call need not wait for it. Raises SandboxUnavailable."""
    place = _place_of("")
    with place.lock:
        place.living()


def close() -> None:
    """End the helpers; a later call starts another. Calls that are under way come to their end."""
    with _lock:
        places = list(_places.values())
        _places.clear()
    for place in places:
        with place.lock:
            place.end()


def new_call(packages: str) -> socket.socket:
    """Our end of a call, the other end of which the helper has. A helper that ends just now drops it.

    Raises SandboxUnavailable.
    """
    place = _place_of(packages)
    ours, theirs = socket.socketpair()
    with theirs, place.lock:
        try:
            place.hand_over(theirs)
        except OSError:  # it ended, or takes no calls any more
            place.end()
            try:
                place.hand_over(theirs)
            except OSError as e:
                ours.close()
                raise SandboxUnavailable(f"The helper that runs uploaded tools cannot be started: {e}.") from e
    return ours


def _forget() -> None:
    """In a fork of this process: the helpers belong to the parent."""
    global _lock
    _lock = threading.Lock()
    for place in _places.values():
        if place.host:
            place.host.control.close()
    _places.clear()


os.register_at_fork(after_in_child=_forget)
atexit.register(close)

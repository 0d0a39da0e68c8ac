"""The warm helper in which uploaded tools run, a program of its own that `agents.sandbox` starts.

    host    single-threaded, has LangChain loaded; forks a keeper for every call that comes in
    keeper  keeps its rights; enforces the limits, ends every process of the call, then answers
    tool    gives up its rights, loads the uploaded file and runs it

It starts with an empty environment and holds no connection, so there is nothing in it to find. A call comes
as one end of a socket pair; whoever closes the other end ends the tool.
"""

import contextlib
import gc
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from agents import toolcode, toolrights

MAX_OUTPUT_BYTES = 1_000_000

# What a frame says. The tool writes the first two; the rest are the keeper's word, which it cannot forge.
RESULT, FAILED = b"=", b"!"
TAKEN = b"+"  # said before the tool starts: without it, nothing has run
TIMED_OUT, EXITED, KILLED, TOO_LARGE, GARBLED, UNAVAILABLE = b"T", b"X", b"K", b"L", b"G", b"U"
TOO_LATE = b"O"  # said in place of TAKEN: the right to start had lapsed
HEADER = struct.Struct(">cQ")

ENDING_SECONDS = 10  # for the processes of a call to be gone after SIGKILL
LONGEST_POLL_MS = 3_600_000
Outcome = tuple[bytes, bytes]


def send(sock: socket.socket, kind: bytes, payload: bytes) -> None:
    sock.sendall(HEADER.pack(kind, len(payload)) + payload)


def receive(sock: socket.socket) -> Outcome:
    """One frame. Raises ConnectionError when the other side is gone, TimeoutError as the socket says."""
    kind, length = HEADER.unpack(_exactly(sock, HEADER.size))
    return kind, _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(size - len(data), 1 << 20))
        if not chunk:
            raise ConnectionError("the other side is gone")
        data += chunk
    return bytes(data)


# The host


def main() -> None:
    """Arguments: where to import this from, the control socket's number, more directories of packages."""
    ours, control_fd, *packages = sys.argv[1:]
    control = socket.socket(fileno=int(control_fd))
    sys.path.remove(ours)
    del sys.modules["agents"]  # a tool shall not find the server's modules by it
    sys.path += [path for path in packages if path not in sys.path]
    sys.argv = ["tool"]
    try:
        if os.geteuid() == 0:
            toolrights.open_packages_to_nobody()
        preload()
    except (ImportError, OSError, toolrights.Unreachable) as e:
        send(control, UNAVAILABLE, str(e).encode())
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    send(control, RESULT, b"")
    serve(control)


def serve(control: socket.socket) -> None:
    while True:
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not fds:
            return  # the server is gone
        with socket.socket(fileno=fds[0]) as call:
            try:
                fork(lambda: keep(call, control))
            except OSError as e:
                with contextlib.suppress(OSError):
                    send(call, UNAVAILABLE, f"No process could be started: {e.strerror}.".encode())


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
        traceback.print_exc()
    finally:
        os._exit(1)


def preload() -> None:
    """Load what every tool needs, down to what LangChain itself loads at the first call."""
    from langchain_core.tools import BaseTool

    class Warm(BaseTool):
        name: str = "warm"
        description: str = "Warms the helper up."

        def _run(self, word: str = "") -> str:
            return word

    Warm().run({"word": "warm"}, config={})
    Warm().get_input_schema()
    if importlib.util.find_spec("gllm_plugin") is None:
        stand_in_for_gllm_plugin()
    sys.dont_write_bytecode = True
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page


def stand_in_for_gllm_plugin() -> None:
    """Some files carry its decorator, with or without arguments; here it does nothing."""

    def tool_plugin(*args: Any, **_: Any) -> Any:
        return args[0] if len(args) == 1 and isinstance(args[0], type) else lambda tool: tool

    package, module = ModuleType("gllm_plugin"), ModuleType("gllm_plugin.tools")
    package.__path__ = []
    module.tool_plugin = tool_plugin  # type: ignore[attr-defined]
    package.tools = module  # type: ignore[attr-defined]
    sys.modules |= {"gllm_plugin": package, "gllm_plugin.tools": module}


# The keeper


def keep(call: socket.socket, control: socket.socket) -> None:
    control.close()
    try:
        request = json.loads(receive(call)[1])
        start_before = request.get("start_before")
        # The clock is the machine's, so it also tells how long the server itself was held up.
        if start_before is not None and time.monotonic() > start_before:
            send(call, TOO_LATE, b"")
            return
        send(call, TAKEN, b"")
    except ConnectionError:
        return
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    toolrights.adopt_orphans()
    try:
        outcome = run(request, call, wake)
    except OSError as e:
        outcome = UNAVAILABLE, f"No process could be started: {e.strerror}.".encode()
    with contextlib.suppress(ConnectionError):
        if outcome:
            send(call, *outcome)


def run(request: dict[str, Any], call: socket.socket, wake: socket.socket) -> Outcome | None:
    directory = tempfile.mkdtemp(prefix="aip-tool-")
    try:
        if os.geteuid() == 0:
            os.chown(directory, *toolrights.nobody())
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        pid = fork(lambda: tool(request, writer, directory))
        os.close(writer)
        try:
            return watch(pid, reader, call, wake, request["timeout"])
        finally:
            end(pid, wake)
    finally:
        remove(directory)


def watch(pid: int, reader: int, call: socket.socket, wake: socket.socket, seconds: float) -> Outcome | None:
    """How the tool ended; None when the client went away."""
    poll = select.poll()
    for fd in (reader, call.fileno(), wake.fileno()):
        poll.register(fd, select.POLLIN)
    data = bytearray()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = {fd for fd, _ in poll.poll(min(left * 1000 + 1, LONGEST_POLL_MS))}
        if call.fileno() in ready:
            return None
        if reader in ready and not read_some(reader, data):
            poll.unregister(reader)  # closed; how the process ends will tell the rest
        if outcome := read_outcome(data):
            return outcome
        if wake.fileno() in ready:
            wake.recv(4096)
            if ended := how_it_ended(pid):
                while read_some(reader, data) and not read_outcome(data):
                    pass
                return read_outcome(data) or ended
    return TIMED_OUT, b""


def read_some(reader: int, data: bytearray) -> bool:
    """False at the end of the pipe, and when it is empty."""
    try:
        chunk = os.read(reader, 1 << 16)
    except BlockingIOError:
        return False
    data += chunk
    return bool(chunk)


def read_outcome(data: bytearray) -> Outcome | None:
    if len(data) < HEADER.size:
        return None
    kind, length = HEADER.unpack_from(data)
    if kind not in (RESULT, FAILED):
        return GARBLED, b""
    if length > MAX_OUTPUT_BYTES:
        return TOO_LARGE, b""
    payload = bytes(data[HEADER.size : HEADER.size + length])
    return (kind, payload) if len(payload) == length else None


def how_it_ended(pid: int) -> Outcome | None:
    if sys.platform == "darwin":
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
    else:  # it stays a zombie, so that its process group can still be named safely
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        code = info and (info.si_status if info.si_code == os.CLD_EXITED else -info.si_status)
    if code is None:
        return None
    return (EXITED, str(code).encode()) if code >= 0 else (KILLED, signal.Signals(-code).name.encode())


def end(pid: int, wake: socket.socket) -> None:
    """Kill the tool and all that descends from it: an orphan of any session becomes the keeper's child."""
    deadline = time.monotonic() + ENDING_SECONDS
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    wake.settimeout(0.05)
    while time.monotonic() < deadline:
        for child in children():
            os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        with contextlib.suppress(TimeoutError):
            wake.recv(4096)


def children() -> list[int]:
    """Not reaped yet, so their numbers cannot mean another process."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:  # noqa: PTH123
            return [int(pid) for pid in listed.read().split()]
    except FileNotFoundError:  # not Linux
        return []


def remove(directory: str) -> None:
    try:
        shutil.rmtree(directory)
    except (OSError, RecursionError):  # what it made is too deep, or closed to its own user
        for command in (["/bin/chmod", "-R", "u+rwX", directory], ["/bin/rm", "-rf", directory]):
            subprocess.run(command, check=False, stdin=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# The tool


def tool(request: dict[str, Any], result: int, directory: str) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    toolrights.confine(directory, keep_open=result)
    try:
        kind, text = RESULT, toolcode.act(request)
    except toolcode.Refused as e:
        kind, text = FAILED, str(e)
    payload = text.encode("utf-8", "surrogatepass")
    with open(result, "wb") as out:
        out.write(HEADER.pack(kind, len(payload)) + payload)

"""The supervisor of a tool's process, in the helper (`agents.sandbox.host`): takes one call, ends all it started."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agents.sandbox import layers, privileges, runner
from agents.sandbox.limits import Limits
from agents.sandbox.loading import Refused
from agents.sandbox.protocol import (
    CHANGED,
    EXITED,
    FAILED,
    FROM_THE_TOOL,
    GARBLED,
    HEADER,
    KILLED,
    MAX_FRAME_BYTES,
    NOT_RUN,
    RESULT,
    TAKEN,
    TIMED_OUT,
    TOO_LARGE,
    TOO_LATE,
    UNAVAILABLE,
    Outcome,
    receive,
    send,
)

ENDING_SECONDS = 10  # for the processes of a call to be gone after SIGKILL
LONGEST_POLL_MS = 3_600_000


@dataclass(frozen=True)
class Spare:
    """A process that waits for the call of a tool: where it takes it, and where it writes the result."""

    pid: int
    go: socket.socket
    result: int


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


def keep(control: socket.socket, taken: socket.socket, limits: Limits) -> None:
    """Take the next call and see it through; say on `taken` when there is need of another keeper."""
    privileges.adopt_orphans()
    wake = wakes_of_children()
    call = outcome = None
    try:
        with spare(wake, limits) as process:
            call = next_call(control)
            if call is None:
                return
            with contextlib.suppress(ConnectionError):
                taken.send(b"+")
            # While it is open, nobody would see that the host is gone.
            control.close()
            outcome = carry_out(call, process, wake)
    except OSError as e:
        if call is None:
            refuse_next(control, e)
            return
        traceback.print_exc()  # it left something behind; what it came to stands
    if outcome:
        with contextlib.suppress(ConnectionError):
            send(call, *outcome)


def refuse_next(control: socket.socket, why: OSError) -> None:
    """Answer the next call, for which there is no process."""
    if call := next_call(control):
        with call, contextlib.suppress(ConnectionError):
            send(call, UNAVAILABLE, f"No process could be started: {why.strerror}.".encode())


def next_call(control: socket.socket) -> socket.socket | None:
    """None when the server is gone."""
    fds = socket.recv_fds(control, 1, 1)[1]
    return socket.socket(fileno=fds[0]) if fds else None


def wakes_of_children() -> socket.socket:
    """What can be read when a child has ended."""
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.detach())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


@contextlib.contextmanager
def spare(wake: socket.socket, limits: Limits) -> Iterator[Spare]:
    """A process for the call, and its directory; at the end neither is left, nor anything that it started."""
    directory = tempfile.mkdtemp(prefix="aip-tool-")
    try:
        if os.geteuid() == 0:
            os.chown(directory, *privileges.nobody())
        go, come = socket.socketpair()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        pid = fork(lambda: tool(go, come, writer, directory, limits))
        come.close()
        os.close(writer)
        try:
            yield Spare(pid, go, reader)
        finally:
            go.close()
            end(pid, wake)
    finally:
        remove(directory)


def carry_out(call: socket.socket, process: Spare, wake: socket.socket) -> Outcome | None:
    """How it ended; None when the client went away, or it did not begin."""
    try:
        payload = receive(call)[1]
        request = json.loads(payload)
        start_before = request.get("start_before")
        # The clock is the machine's, so it also tells how long the server itself was held up.
        if start_before is not None and time.monotonic() > start_before:
            return TOO_LATE, b""
        if how_it_ended(process.pid):
            return None  # somebody killed it while it waited: another one has to take the call
        send(call, TAKEN, b"")
    except ConnectionError:
        return None
    with contextlib.suppress(ConnectionError):  # it has been killed, as its end will tell
        send(process.go, RESULT, payload)
    return watch(process, call, wake, request["timeout"])


def watch(process: Spare, call: socket.socket, wake: socket.socket, seconds: float) -> Outcome | None:
    """How the tool ended; None when the client went away."""
    reader, poll = process.result, select.poll()
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
            if ended := how_it_ended(process.pid):
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
    if kind not in FROM_THE_TOOL:
        return GARBLED, b""
    if length > MAX_FRAME_BYTES:
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


def tool(go: socket.socket, come: socket.socket, result: int, directory: str, limits: Limits) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    go.close()
    privileges.confine(directory, keep_open=[result, come.fileno()])
    runner.warm_up()  # a fork copies what it touches first: now, and not when the call is here
    try:
        with come:
            request = json.loads(receive(come)[1])
    except ConnectionError:
        return  # there was no call, or its keeper is gone
    layers.put_on(directory, limits, network=request["action"] not in ("check", "check_settings"))
    try:
        kind, text = RESULT, runner.act(request)
    except Refused as e:
        kind, text = NOT_RUN, str(e)
    except runner.Changed as e:
        kind, text = CHANGED, json.dumps(e.now)
    except runner.Failed as e:
        kind, text = FAILED, str(e)
    payload = text.encode("utf-8", "surrogatepass")
    with open(result, "wb") as out:
        out.write(HEADER.pack(kind, len(payload)) + payload)

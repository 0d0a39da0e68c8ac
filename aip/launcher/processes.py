"""Child processes: they never outlive this one, and a signal finds this one only where it pauses."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import psutil

PR_SET_PDEATHSIG = 1
KILL_SECONDS = 2.0
LEFT_OVER_ROUNDS = 5
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_signals_seen: list[int] = []


class Stopped(Exception):
    """A signal asked this process to stop."""


def stop_on(*signals: signal.Signals) -> None:
    """From now on these signals, however often they come, raise `Stopped` out of the next `pause`."""

    def note(number: int, _frame: FrameType | None) -> None:
        _signals_seen.append(number)

    for number in signals:
        # nohup's way to say that the terminal may go away.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, note)


def pause(seconds: float = 0.1) -> None:
    if not _signals_seen:
        time.sleep(seconds)
    if _signals_seen:
        raise Stopped


def spawn(
    command: Sequence[str | Path],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    user: pwd.struct_passwd | None = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    output: int | BinaryIO | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, which gets `death_signal` when we die.

    Call it from the main thread: the kernel sends the signal when the thread that forked ends.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        # Popen has changed the user by now; doing so later would clear the request.
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    ids = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [os.fspath(part) for part in command],
        stdin=stdin,
        # Where we were started without them, the numbers 1 and 2 may by now be something else of ours.
        stdout=subprocess.DEVNULL if output is None and sys.stdout is None else output,
        stderr=subprocess.DEVNULL if output is None and sys.stderr is None else output,
        cwd=cwd,
        env=env,
        start_new_session=True,
        preexec_fn=die_with_parent,
        **ids,
    )


def finish(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, or None after `seconds`; the process is ended if it is still there."""
    deadline = time.monotonic() + seconds
    try:
        while process.poll() is None and time.monotonic() < deadline:
            pause(0.02)
        return process.poll()
    finally:
        end([process])


def end(processes: Sequence[subprocess.Popen[bytes]], *steps: tuple[signal.Signals, float]) -> None:
    """Send each step's signal to those still alive and wait its seconds; then SIGKILL them and their own."""
    # The number of a process that has been waited for may belong to another by now.
    living = [process for process in processes if process.poll() is None]
    family = [child for process in living for child in descendants(process.pid)]
    for number, seconds in (*steps, (signal.SIGKILL, KILL_SECONDS)):
        for process in living:
            process.send_signal(number)
        deadline = time.monotonic() + seconds
        for process in living:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    kill(family)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + KILL_SECONDS
    while not all(is_gone(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)


def is_gone(process: psutil.Process) -> bool:
    """A zombie is: it does nothing more, and whoever has to reap it may take its time."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def matching(is_left_over: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Living processes that match, but for this one and its ancestors."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in ours and is_left_over(process):
                found.append(process)
    return found


def end_left_overs(is_left_over: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Kill what matches, and what it may have forked meanwhile; returns what could not be ended."""
    for _ in range(LEFT_OVER_ROUNDS):
        found = matching(is_left_over)
        if not found:
            return []
        kill(found)
    return matching(is_left_over)

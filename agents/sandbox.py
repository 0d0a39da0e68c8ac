"""Runs uploaded tools, in a process of their own each, through a warm helper (`agents.toolhost`)."""

import atexit
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import toolhost
from agents.toolhost import MAX_OUTPUT_BYTES

START_SECONDS = 60  # a first start may have to compile the packages
HANDOVER_SECONDS = 10
GRACE_SECONDS = 15  # beyond a call's own limit, for its processes to be ended and its files removed
LOST = b"-"

# What model providers accept as the name of a function.
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_CLASS_NAME = 255


class ToolFailed(Exception):
    """A call failed; the text is for the model and the operator."""


class ToolRejected(Exception):
    """An upload cannot become a tool; the text tells its author what to change."""


class SandboxUnavailable(Exception):
    """No uploaded tool can run on this server now; the text says why."""


@dataclass(frozen=True)
class Description:
    """What an uploaded file says of its tool. `args_schema` is the arguments' JSON Schema."""

    class_name: str
    name: str
    description: str
    args_schema: dict[str, Any]


def call(
    source: str, *, class_name: str, fields: Mapping[str, Any], arguments: Mapping[str, Any], timeout: float
) -> str:
    """What the tool returns: text as it is, other values as JSON. Raises ToolFailed, SandboxUnavailable."""
    request = {"class_name": class_name, "fields": dict(fields), "arguments": dict(arguments)}
    kind, text = _exchange(source, request, timeout)
    if kind != toolhost.RESULT:
        raise ToolFailed(_explain("The tool", kind, text, timeout))
    return text


def describe(source: str, *, timeout: float = 20) -> Description:
    """Load the file and ask its tool what it is. Raises ToolRejected, SandboxUnavailable."""
    kind, text = _exchange(source, {"class_name": None}, timeout)
    if kind != toolhost.RESULT:
        raise ToolRejected(_explain("Loading the file", kind, text, timeout))
    return _checked(text)


def _checked(text: str) -> Description:
    """Checked here and not where the file runs, since the file could change the checks there."""
    try:
        made = Description(**json.loads(text))
        storable = _is_storable(made)
    except (ValueError, TypeError, RecursionError) as e:
        raise ToolRejected(
            "The file interferes with being described: keep it to a tool class and what it needs."
        ) from e
    if not isinstance(made.name, str) or not TOOL_NAME.fullmatch(made.name):
        raise ToolRejected(
            f"The tool's name {made.name!r:.100} cannot be used: "
            "it must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -."
        )
    if not isinstance(made.description, str) or not made.description.strip():
        raise ToolRejected(f"{made.name} has no description: say in it what the tool does; the model reads it.")
    if not isinstance(made.class_name, str) or len(made.class_name) > MAX_CLASS_NAME:
        raise ToolRejected(f"The name of the tool's class must have at most {MAX_CLASS_NAME} characters.")
    if not isinstance(made.args_schema, dict) or made.args_schema.get("type") != "object":
        raise ToolRejected('The schema of the tool\'s arguments must be a JSON Schema with "type": "object".')
    if not storable:
        raise ToolRejected("Name, description and arguments of a tool must not hold NUL or unpaired surrogates.")
    return made


def _is_storable(made: Description) -> bool:
    """PostgreSQL holds neither NUL nor unpaired surrogates. Raises ValueError for what JSON cannot hold."""
    values = [made.class_name, made.description, made.args_schema]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return "\\u0000" not in text.replace("\\\\", "") and not any("\ud800" <= each <= "\udfff" for each in text)


def _explain(subject: str, kind: bytes, text: str, timeout: float) -> str:
    match kind:
        case toolhost.FAILED:
            return text
        case toolhost.TIMED_OUT:
            return f"{subject} was stopped after {timeout:g} seconds."
        case toolhost.EXITED:
            return f"{subject} ended its process (exit code {text}) and gave no result."
        case toolhost.KILLED:
            return f"{subject} was killed by {text}; it may have used too much memory."
        case toolhost.TOO_LARGE:
            return f"{subject} returned more than {MAX_OUTPUT_BYTES:,} bytes."
        case toolhost.GARBLED:
            return f"{subject} gave a result that cannot be read."
    return f"{subject} was cut off: its process was lost before it answered, and what it did is not known."


def _exchange(source: str, request: dict[str, Any], timeout: float) -> tuple[bytes, str]:
    whole = json.dumps({"source": source, "timeout": timeout, **request}).encode()
    answer = _attempt(whole, timeout) or _attempt(whole, timeout)
    if answer is None:
        raise SandboxUnavailable("The helper that runs uploaded tools ended twice; see the server's log.")
    kind, payload = answer
    if kind == toolhost.UNAVAILABLE:
        raise SandboxUnavailable(payload.decode())
    try:
        return kind, payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return toolhost.GARBLED, ""


def _attempt(request: bytes, timeout: float) -> tuple[bytes, bytes] | None:
    """None when the helper ended before it began the call. Closing our end is all it takes to end the tool."""
    taken = False
    with _new_call() as ours:
        ours.settimeout(timeout + GRACE_SECONDS)
        try:
            toolhost.send(ours, toolhost.RESULT, request)
            answer = toolhost.receive(ours)
            if taken := answer[0] == toolhost.TAKEN:
                answer = toolhost.receive(ours)
        except TimeoutError:
            return LOST, b""
        except OSError:
            return (LOST, b"") if taken else None
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
            kind, text = toolhost.receive(self.control)
            self.control.settimeout(HANDOVER_SECONDS)
        except OSError as e:
            self.end()
            raise SandboxUnavailable("The helper that runs uploaded tools did not start; see the server's log.") from e
        if kind != toolhost.RESULT:
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
    ours = str(Path(__file__).resolve().parent.parent)
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    start = "import sys; sys.path.insert(0, sys.argv[1]); from agents.toolhost import main; main()"
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

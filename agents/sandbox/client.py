"""Runs uploaded tools, in a process of their own each, through a warm helper (`agents.sandbox.hosts`)."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from agents.sandbox import hosts, protocol
from agents.sandbox.hosts import SandboxUnavailable as SandboxUnavailable
from agents.sandbox.hosts import close as close
from agents.sandbox.hosts import configure as configure
from agents.sandbox.hosts import warm as warm
from agents.sandbox.manifest import Description, ToolRejected, checked
from agents.sandbox.protocol import MAX_OUTPUT_BYTES

GRACE_SECONDS = 15  # beyond a call's own limit, for its processes to be ended and its files removed
LOST = b"-"
# For the whole of a check; the tool's own model has two seconds of it (`agents.sandbox.runner`).
CHECK_SECONDS = 10
CRASHES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")
MAY_HAVE_HAD_ITS_EFFECT = "It began and may have had its effect, whole or in part."

Errors = dict[str, list[str]]


class ToolFailed(Exception):
    """A call failed; the text is for the model and the operator."""


class NotRun(ToolFailed):
    """The tool was refused its call before its body began; nothing has run."""


class Interrupted(ToolFailed):
    """The tool began and did not come to its end; it may have had its effect."""


class DefaultsChanged(Exception):
    """The tool's own defaults are not those that were shown; nothing has run. `now` has those that it has now."""

    def __init__(self, now: dict[str, Any]) -> None:
        super().__init__("The tool's own defaults are not those that were shown.")
        self.now = now


class Unchecked(Exception):
    """The tool's own check of arguments did not come to an end; the text says why."""


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


@dataclass(frozen=True, kw_only=True)
class ToolCode:
    """A tool as the sandbox runs it: the file, the attribute that is the tool, and its settings in `tool_configs`.

    `packages` is the directory of its own packages (`agents.sandbox.environments`), if it has any.
    """

    source: str
    object_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    packages: str = ""

    def request(self, action: str, **more: Any) -> dict[str, Any]:
        return {"action": action, "object_name": self.object_name, "settings": dict(self.settings), **more}


@dataclass(frozen=True, kw_only=True)
class CallContext:
    """What a tool can have injected: of its call, its run and the conversation (as `messages_to_dict` writes it)."""

    call_id: str = ""
    run_id: str = ""
    agent: str = ""
    user: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ToolResult:
    """What a call gave: a text, or content blocks as LangChain's messages have them. `failed`: the tool says so."""

    content: str | list[Any]
    failed: bool = False


def call(
    tool: ToolCode,
    arguments: Mapping[str, Any],
    *,
    timeout: float,
    context: CallContext | None = None,
    expected_defaults: Mapping[str, Any] | None = None,
    start_before: float | None = None,
    stop: Stop | None = None,
) -> ToolResult:
    """What the tool gives. `start_before` is a time.monotonic(); `expected_defaults` are those that were shown.

    Raises ToolFailed, of which NotRun and Interrupted are kinds, DefaultsChanged, SandboxUnavailable, TooLate.
    """
    request = tool.request(
        "call",
        arguments=dict(arguments),
        context=asdict(context or CallContext()),
        expected_defaults=dict(expected_defaults or {}),
        start_before=start_before,
    )
    kind, text = _exchange(tool.source, request, timeout, stop or Stop(), tool.packages)
    match kind:
        case protocol.RESULT:
            return _result(text)
        case protocol.TOO_LATE:
            raise TooLate
        case protocol.CHANGED:
            raise _defaults_changed(text)
        case protocol.NOT_RUN:
            raise NotRun(text)
        case protocol.FAILED:
            raise ToolFailed(text)
    raise _interrupted(kind, text, timeout)


def _result(text: str) -> ToolResult:
    """Raises Interrupted for too much, and for what only a file that writes in our place can have sent."""
    try:
        result = ToolResult(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        result = None
    if result is None or not _is_content(result.content) or not isinstance(result.failed, bool):
        raise _interrupted(protocol.GARBLED)
    whole = result.content if isinstance(result.content, str) else json.dumps(result.content, ensure_ascii=False)
    if len(whole.encode("utf-8", "surrogatepass")) > MAX_OUTPUT_BYTES:
        raise _interrupted(protocol.TOO_LARGE)
    return result


def _defaults_changed(text: str) -> Exception:
    try:
        now = json.loads(text)
    except (ValueError, RecursionError):
        now = None
    return DefaultsChanged(now) if isinstance(now, dict) else _interrupted(protocol.GARBLED)


def _interrupted(kind: bytes, text: str = "", timeout: float = 0) -> Interrupted:
    return Interrupted(f"{_explain('The tool', kind, text, timeout)} {MAY_HAVE_HAD_ITS_EFFECT}")


def _is_content(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str | dict) for one in value))


def check(tool: ToolCode, arguments: Mapping[str, Any]) -> Errors:
    """What the tool's own model certainly refuses in `arguments`, by argument. The tool's body does not run.

    Raises Unchecked, SandboxUnavailable.
    """
    request = tool.request("check", arguments=dict(arguments))
    kind, text = _exchange(tool.source, request, CHECK_SECONDS, Stop(), tool.packages)
    return _errors(kind, text, CHECK_SECONDS)


def check_settings(tool: ToolCode) -> Errors:
    """What the tool refuses of its settings, by name. Raises Unchecked, SandboxUnavailable."""
    kind, text = _exchange(tool.source, tool.request("check_settings"), CHECK_SECONDS, Stop(), tool.packages)
    return _errors(kind, text, CHECK_SECONDS)


def _errors(kind: bytes, text: str, timeout: float) -> Errors:
    if kind != protocol.RESULT:
        raise Unchecked(_explain("The check", kind, text, timeout))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_are_texts(texts) for texts in found.values()):
        raise Unchecked(_explain("The check", protocol.GARBLED, "", timeout))
    return found


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def describe(
    source: str,
    *,
    object_name: str | None = None,
    names: Sequence[str] = (),
    packages: str = "",
    timeout: float = 20,
) -> Description:
    """Load the file and ask its tool what it is. Raises ToolRejected, SandboxUnavailable.

    `object_name` must be in the file; the first of `names` that a tool of the file has chooses among several.
    """
    request = {"action": "describe", "object_name": object_name, "names": list(names)}
    kind, text = _exchange(source, request, timeout, Stop(), packages)
    if kind != protocol.RESULT:
        raise ToolRejected(_explain("Loading the file", kind, text, timeout))
    return checked(text)


def _explain(subject: str, kind: bytes, text: str, timeout: float) -> str:
    match kind:
        case protocol.FAILED | protocol.NOT_RUN | protocol.CHANGED:
            return text
        case protocol.TIMED_OUT:
            return f"{subject} was stopped after {timeout:g} seconds."
        case protocol.EXITED:
            return f"{subject} ended its process (exit code {text}) and gave no result."
        case protocol.KILLED if text in CRASHES:
            return f"{subject} crashed Python ({text}): native code that it uses is at fault."
        case protocol.KILLED if text == "SIGALRM":
            return f"{subject} took too long."
        case protocol.KILLED:
            return f"{subject} was killed by {text}; it may have used too much memory."
        case protocol.TOO_LARGE:
            return f"{subject} returned more than {MAX_OUTPUT_BYTES:,} bytes."
        case protocol.GARBLED:
            return f"{subject} gave a result that cannot be read."
    return f"{subject} was cut off: its process was lost before it answered."


def _exchange(source: str, request: dict[str, Any], timeout: float, stop: Stop, packages: str) -> tuple[bytes, str]:
    whole = json.dumps({"source": source, "timeout": timeout, **request}).encode()
    answer = _attempt(whole, timeout, stop, packages) or _attempt(whole, timeout, stop, packages)
    if answer is None:
        raise SandboxUnavailable("The helper that runs uploaded tools ended twice; see the server's log.")
    kind, payload = answer
    if kind == protocol.UNAVAILABLE:
        raise SandboxUnavailable(payload.decode())
    try:
        return kind, payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return protocol.GARBLED, ""


def _attempt(request: bytes, timeout: float, stop: Stop, packages: str) -> tuple[bytes, bytes] | None:
    """None when the helper ended before it began the call. Closing our end is all it takes to end the tool."""
    taken = False
    with hosts.new_call(packages) as ours:
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

"""The warm helper in which uploaded tools run, a program of its own that `agents.sandbox.client` starts.

    host    single-threaded, has LangChain loaded; keeps one spare keeper ready, which takes the next call
    keeper  keeps its rights; enforces the limits, ends every process of the call, then answers
    tool    gives up its rights, loads the uploaded file and runs it

It starts with an empty environment and holds no connection, so there is nothing in it to find. A call comes
as one end of a socket pair; whoever closes the other end ends the tool. A keeper serves one call, and so does its
tool's process, so no tool finds anything of another; both are forked ahead of the call, which does not wait for that.
"""

import dataclasses
import gc
import importlib.util
import os
import signal
import socket
import sys
from types import ModuleType
from typing import Any

from agents.sandbox import paths, privileges, runner
from agents.sandbox.limits import Limits
from agents.sandbox.protocol import RESULT, UNAVAILABLE, send
from agents.sandbox.supervisor import fork, keep, refuse_next


def main() -> None:
    """Arguments: where to import this from, the control socket's number, the limits, directories of packages."""
    ours, control_fd, given, *packages = sys.argv[1:]
    control = socket.socket(fileno=int(control_fd))
    sys.path.remove(ours)
    del sys.modules["agents.sandbox"], sys.modules["agents"]  # a tool must not find the server's modules by them
    sys.path[:] = dict.fromkeys(paths.of_python([*sys.path, *packages], packages))
    sys.argv = ["tool"]
    try:
        if os.geteuid() == 0:
            privileges.open_packages_to_nobody()
        limits = Limits.from_json(given)
        limits = dataclasses.replace(limits, readable=tuple(paths.readable([ours, *limits.closed])))
        preload()
    except (ImportError, OSError, privileges.Unreachable) as e:
        send(control, UNAVAILABLE, str(e).encode())
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    send(control, RESULT, b"")
    while is_open(control):
        serve(control, limits)


def is_open(control: socket.socket) -> bool:
    """Whether the server still holds its end."""
    try:
        return bool(control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True


def serve(control: socket.socket, limits: Limits) -> None:
    """Have a keeper ready until it has taken a call, or has ended."""
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                fork(lambda: keep(control, theirs, limits))
        except OSError as e:
            refuse_next(control, e)
        else:
            ours.recv(1)


def preload() -> None:
    """Load what every tool needs, down to what LangChain itself loads at the first call."""
    runner.warm_up()
    runner.act(runner.WARM | {"action": "describe", "object_name": None})
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

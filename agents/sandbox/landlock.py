"""Landlock: which files a tool may read and write, and that it signals nobody outside of its call.

By the kernel's own calls, which need no right and no package. `agents.sandbox.paths` says which files.
"""

import contextlib
import ctypes
import functools
import os
import stat
import struct
import sys
from collections.abc import Iterable

from agents.sandbox.privileges import LIBC

SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446  # on every architecture
VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
# How many kinds of access to files each version of Landlock knows; what it does not know it does not restrict.
KINDS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NEWEST = max(KINDS)
SCOPES_SINCE = 6
SCOPED = 1 << 0 | 1 << 1  # abstract sockets and signals
_on: list[str] = []


@functools.cache
def version() -> int:
    """What this kernel has; 0 where it has none, or the host does not allow it."""
    if sys.platform != "linux":
        return 0
    return max(0, int(LIBC.syscall(SYS_CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)))


def is_on() -> bool:
    """Whether this process is confined."""
    return bool(_on)


def confine(directory: str, readable: Iterable[str], devices: Iterable[str]) -> None:
    """Let this process, and all that it starts, write below `directory` alone and read nothing but `readable`.

    The process has given up new privileges. Raises OSError.
    """
    handled = (1 << KINDS[min(version(), NEWEST)]) - 1
    scoped = SCOPED if version() >= SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, 0, scoped)
    ruleset = _checked(LIBC.syscall(SYS_CREATE_RULESET, attributes, ctypes.c_size_t(_size()), 0))
    try:
        _allow(ruleset, directory, handled)
        for path in readable:
            with contextlib.suppress(OSError):  # it is not there
                _allow(ruleset, path, READ & handled)
        for path in devices:
            with contextlib.suppress(OSError):
                _allow(ruleset, path, (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV) & handled)
        _checked(LIBC.syscall(SYS_RESTRICT_SELF, ruleset, 0))
        _on.append(directory)
    finally:
        os.close(ruleset)


def _size() -> int:
    """Of the attributes that this version knows; it refuses what is not zero beyond."""
    return 24 if version() >= SCOPES_SINCE else 16 if version() >= 4 else 8


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= OF_A_FILE
        rule = struct.pack("=Qi", access, fd)
        _checked(LIBC.syscall(SYS_ADD_RULE, ruleset, PATH_BENEATH, rule, 0))
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock was refused")
    return result

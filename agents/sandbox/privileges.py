"""What an uploaded tool may do and reach: its user, its limits, its environment, its way to the packages."""

import contextlib
import ctypes
import functools
import os
import pwd
import resource
import sys
import tempfile
from collections.abc import Mapping

MAX_PROCESSES = 4096  # of `nobody`, all tools together: a fork bomb must not fill the machine's table
LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 100 * 1024**2,
    resource.RLIMIT_NOFILE: 256,
}
if sys.platform == "linux":
    LIMITS[resource.RLIMIT_AS] = 4 * 1024**3
if sys.platform == "linux" and os.geteuid() == 0:
    LIMITS[resource.RLIMIT_NPROC] = MAX_PROCESSES

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SYS_OPEN_TREE, AT_FDCWD, OPEN_TREE_CLONE, AT_RECURSIVE = 428, -100, 1, 0x8000
LIBC = ctypes.CDLL(None, use_errno=True)
KEPT_OPEN: list[int] = []


class Unreachable(Exception):
    """`nobody` cannot read the packages; the text says what to do."""


@functools.cache
def nobody() -> tuple[int, int]:
    user = pwd.getpwnam("nobody")
    return user.pw_uid, user.pw_gid


def open_packages_to_nobody() -> None:
    """Let `nobody` import from below directories that only root may enter.

    An open detached mount can be followed through /proc/self/fd by whoever holds it, and its ".." ends in
    itself. So the packages can be reached, and what lies next to them cannot.
    """
    paths = [path for path in sys.path if os.path.exists(path)]  # noqa: PTH110
    moved = {path: f"/proc/self/fd/{open_tree(path)}" for path in closed_to_nobody(paths)}
    if still_closed := closed_to_nobody(list(moved.values())):
        raise Unreachable(needs_reading([path for path in moved if moved[path] in still_closed]))
    sys.path[:] = [moved.get(path, path) for path in paths]
    for module in list(sys.modules.values()):
        if isinstance(folders := getattr(module, "__path__", None), list):
            folders[:] = [move(folder, moved) for folder in folders]
        if isinstance(file := getattr(module, "__file__", None), str):
            module.__file__ = move(file, moved)
    sys.path_importer_cache.clear()


def move(path: str, moved: Mapping[str, str]) -> str:
    for old in sorted(moved, key=len, reverse=True):
        if path == old or path.startswith(old + "/"):
            return moved[old] + path[len(old) :]
    return path


def closed_to_nobody(paths: list[str]) -> list[str]:
    uid, gid = nobody()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return [path for path in paths if not os.access(path, os.R_OK, effective_ids=True)]
    finally:
        os.seteuid(0)
        os.setegid(0)


def open_tree(path: str) -> int:
    """A detached mount that this process and its tools keep open. Raises Unreachable."""
    fd = detached_tree(path)
    KEPT_OPEN.append(fd)
    return fd


def detached_tree(path: str) -> int:
    """Raises Unreachable."""
    flags = OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    fd = LIBC.syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags) if sys.platform == "linux" else -1
    if fd < 0:
        raise Unreachable(needs_reading([path]))
    return int(fd)


def needs_reading(paths: list[str]) -> str:
    return (
        f"Uploaded tools run as the user nobody, which cannot read {', '.join(paths)}. Make this directory "
        "and those above it readable for everyone, or install Python and the server's packages elsewhere."
    )


def confine(directory: str, *, keep_open: list[int]) -> None:
    """For this process and all that it will start; what can be done before there is a call."""
    close_all_but(keep_open)
    os.chdir(directory)
    os.umask(0o077)
    os.environ.clear()
    os.environ |= {
        "HOME": directory,
        "TMPDIR": directory,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    tempfile.tempdir = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
            score.write("1000")
    for limit, value in LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def close_all_but(keep_open: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    first = 3
    for kept in sorted([*keep_open, *KEPT_OPEN]):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def adopt_orphans() -> None:
    """Processes below this one whose parent ends become children of this one, whatever their session."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux" and LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl was refused")

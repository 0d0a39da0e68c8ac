"""Which layer a tool's exception comes of, as far as that can be told. Runs only in the tool's own process."""

import errno
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from agents.sandbox import landlock

SHARED_MEMORY = ("multiprocessing/synchronize.py", "multiprocessing/shared_memory.py", "multiprocessing/heap.py")
MAX_CHAIN = 8


def denied_by(e: BaseException) -> str:
    """A sentence with a space before it; "" where no layer is known to be the reason."""
    for each in _chain(e):
        if isinstance(each, OSError) and each.errno in (errno.EACCES, errno.EPERM, errno.EXDEV):
            return _sentence(each)
    return ""


def _chain(e: BaseException | None) -> Iterator[BaseException]:
    for _ in range(MAX_CHAIN):
        if e is None:
            return
        yield e
        e = e.__cause__ or e.__context__


def _sentence(e: OSError) -> str:
    if not landlock.is_on():
        return ""
    if _is_of_shared_memory(e):
        return " Shared memory, /dev/shm, is closed to uploaded tools (by Landlock)."
    path = e.filename2 or e.filename
    if e.errno == errno.EPERM or not isinstance(path, str | bytes) or _is_in_its_directory(_whole(path)):
        return ""
    return (
        f" {_whole(path)[:200]} is closed to uploaded tools (by Landlock): they write only in their own directory, "
        "which TMPDIR names, and read little else of this machine."
    )


def _is_of_shared_memory(e: OSError) -> bool:
    return any(
        frame.f_code.co_filename.endswith(SHARED_MEMORY) for frame, _ in traceback.walk_tb(e.__traceback__)
    ) or str(e.filename or "").startswith("/dev/shm/")  # noqa: S108


def _is_in_its_directory(path: str) -> bool:
    own = os.environ.get("TMPDIR", "/")
    return os.path.commonpath((own, path)) == own


def _whole(path: str | bytes) -> str:
    return os.path.normpath(Path(os.fsdecode(path)).absolute())

"""Collects whatever it can read of its environment, its ancestors in /proc, and a directory."""

import os
from pathlib import Path

from langchain_core.tools import BaseTool

MOST_OF_A_MAPPING = 4_000_000


def ancestors() -> list[int]:
    found = []
    pid = os.getppid()
    while pid > 0 and len(found) < 30:
        found.append(pid)
        status = attempt(Path(f"/proc/{pid}/status").read_text)
        pid = int(status.split("PPid:")[1].split()[0]) if status else 0
    return found


def writable_memory(pid: int) -> bytes:
    found = b""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for mapping in maps:
            span, rights = mapping.split()[:2]
            start, end = (int(edge, 16) for edge in span.split("-"))
            if rights.startswith("rw") and end - start < MOST_OF_A_MAPPING:
                memory.seek(start)
                found += memory.read(end - start)
    return found


def seek(data_dir: str, pids: list[int], files: tuple[str, ...]) -> dict[str, bytes]:
    """By what was looked at: its content, or b"" where it could not be read."""
    found = {"own environment": repr(dict(os.environ)).encode(), "/proc/self/environ": b""}
    paths = [Path("/proc/self/environ"), *Path(data_dir).rglob("*"), *map(Path, files)]
    for pid in pids:
        paths += [Path(f"/proc/{pid}/{name}") for name in ("environ", "cmdline", "cwd", "root/proc/1/environ")]
        paths += [Path(f"/proc/{pid}/task/{pid}/environ")]
        found[f"/proc/{pid}/mem"] = attempt(writable_memory, pid)
        paths += [Path(f"/proc/{pid}/fd/{fd}") for fd in attempt(os.listdir, f"/proc/{pid}/fd")]
    for path in paths:
        found[str(path)] = attempt(read_file, path)
    return found


def read_file(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""  # a pipe would block


def attempt(read, *arguments):
    try:
        return read(*arguments)
    except OSError:
        return b""


class Seeker(BaseTool):
    name: str = "seek"
    description: str = "Looks for the server's secrets."

    def _run(self, data_dir: str, marker: str, pids: tuple[int, ...] = (), files: tuple[str, ...] = ()) -> dict:
        pids = sorted({os.getpid(), *ancestors(), *pids})
        found = seek(data_dir, pids, files)
        return {
            "pids": pids,
            "looked_at": sorted(found),
            "found_in": sorted(place for place, content in found.items() if marker.encode() in content),
        }

"""What the processes of a private server use: processor time, memory, threads."""

import time
from contextlib import suppress
from pathlib import Path

import psutil

# By a part of the command line; PostgreSQL's own children are named by what they do.
NAMES = {"celery": "worker", "sweep": "sweep", "daphne": "web", "postgres": "PostgreSQL", "valkey": "Valkey"}
CACHE = "PostgreSQL's cache"  # shared_buffers and the like: of a fixed size, which any work fills
OTHER = "tools"  # the sandbox: each call is a process that is gone before it could be counted


def name_of(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        line = " ".join(process.cmdline()) + process.name()
        if "agents.sandbox" in line:
            return OTHER
        return next((name for word, name in NAMES.items() if word in line), "up")
    return "up"


def all_of(up: int) -> list[tuple[str, psutil.Process]]:
    found = [psutil.Process(up), *psutil.Process(up).children(recursive=True)]
    return [(name_of(process), process) for process in found]


def processor_seconds(up: int) -> dict[str, float]:
    """By name, with the children that have ended and were waited for."""
    used = dict.fromkeys([*NAMES.values(), OTHER], 0.0)
    for name, process in all_of(up):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[name] = used.get(name, 0.0) + times.user + times.system
            # PostgreSQL's backends come and go; the postmaster waits for them.
            if name == "PostgreSQL":
                used[name] += times.children_user + times.children_system
    return used


def busy_seconds() -> float:
    """Processor time that anybody on this machine used."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq + times.steal)


def own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def memory_bytes(up: int) -> dict[str, int]:
    """Proportional set size: what several share is divided between them. PostgreSQL's cache has a name of its own."""
    used: dict[str, int] = {}
    for name, process in all_of(up):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            kilobytes = {key: int(size.removesuffix("kB")) for key, _, size in (line.partition(":") for line in lines)}
            cache = kilobytes["Pss_Shmem"] if name == "PostgreSQL" else 0
            used[name] = used.get(name, 0) + (kilobytes["Pss"] - cache) * 1024
            used[CACHE] = used.get(CACHE, 0) + cache * 1024
    return used


def threads(up: int) -> int:
    number = 0
    for name, process in all_of(up):
        with suppress(psutil.NoSuchProcess):
            number += 0 if name == "PostgreSQL" else process.num_threads()
    return number


def settled(up: int, seconds: float = 300) -> dict[str, int]:
    """Memory when it has stopped to change: what was taken for a moment is given back.

    Each pool of connections gives back one that is not needed every ten seconds.
    """
    deadline = time.monotonic() + seconds
    before = memory_bytes(up)
    while True:
        time.sleep(25)
        now = memory_bytes(up)
        if abs(sum(now.values()) - sum(before.values())) < 1_000_000 or time.monotonic() > deadline:
            return now
        before = now

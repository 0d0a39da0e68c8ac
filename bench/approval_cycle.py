"""What an approval costs: how fast a decision takes effect, what a cycle and what waiting costs.

    uv run --group dev python -m bench.approval_cycle [--others 0,100,1000,10000] [--samples 100] [--seconds 10]
    uv run --group dev python -m bench.approval_cycle --url http://... --key ...    # a server that runs already

Starts a private server with the default settings (but for a hold of two seconds, so that parking can be waited for)
and drives it as a client would: over HTTP, following event streams. Prints a table, and one JSON object as the last
line. How to read it:

unit        the median of GET /agents/{id} on the same server in the same run. Every latency is also given in units,
            which can be compared between machines.
held        the decision came while the call held its worker's thread; `parked`: after it gave it up.
to tool     from the moment before the decision is sent until the first line of the tool, by one clock.
to end      until the client has read the run's last event.
others      so many other requests waited meanwhile, each of a parked run of its own.
cycles      start, pause, approve as soon as it is seen, run, end; so many at once, each follows its own stream.
processor   milliseconds of processor time per cycle, by process. The sandbox's processes are gone before they can be
            counted: `tools` is what the whole machine used beyond what is counted, so run nothing else beside.
floor       the same agent in one bare process with PostgresSaver, and PostgreSQL's part of it (`bench.floor`).
memory      growth of the proportional set size (PSS) of all processes for each request that was parked, when the pools
            have given back their connections. PostgreSQL's cache is counted once and told apart: it is of a fixed size,
            and whatever is done fills it.

With a server that runs already only what a client can see is measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

from aip.launcher import embedded, private_server
from aip.management.commands import up
from bench import processes
from bench.client import Client, Cycle, clock
from bench.seen import seen

HOLD_SECONDS = 2
AT_ONCE = (1, 16, 64)
FLOOR_CYCLES = 100
STARTERS = 8

Figures = dict[str, Any]


def percentiles(values: list[float], unit: float) -> Figures:
    """Milliseconds, and units."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    named = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}
    return {name: {"ms": round(1000 * at, 2), "units": round(at / unit, 2)} for name, at in named.items()}


def latencies(cycles: list[Cycle], unit: float) -> Figures:
    return {
        "to tool": percentiles([cycle.to_tool for cycle in cycles], unit),
        "to end": percentiles([cycle.to_end for cycle in cycles], unit),
    }


def held(client: Client, samples: int) -> list[Cycle]:
    """One after the other; each is decided a moment after it has begun to wait."""

    def one() -> Cycle:
        asked = client.start()
        asked.pending.wait(30)
        time.sleep(0.05)
        return client.approve(asked)

    return [one() for _ in range(samples)]


def parked(client: Client, samples: int) -> list[Cycle]:
    """Started together, and decided one after the other when all have been parked."""
    waiting = [client.start() for _ in range(samples)]
    for asked in waiting:
        asked.pending.wait(60)
    time.sleep(HOLD_SECONDS + 1)
    return [client.approve(asked) for asked in waiting]


def cycles_at_once(client: Client, number: int, seconds: float) -> tuple[int, float]:
    """How many cycles, and in how many seconds."""
    began = time.monotonic()

    def cycle_on(_: int) -> int:
        done = 0
        while time.monotonic() - began < seconds:
            client.approve(client.start())
            done += 1
        return done

    with ThreadPoolExecutor(number) as clients:
        done = sum(clients.map(cycle_on, range(number)))
    return done, time.monotonic() - began


def throughput(client: Client, server: private_server.PrivateServer | None, number: int, seconds: float) -> Figures:
    before = _used(server)
    done, took = cycles_at_once(client, number, seconds)
    after = _used(server)
    figures: Figures = {"cycles_per_second": round(done / took, 2)}
    if server:
        spent = {name: 1000 * (after[name] - before[name]) / done for name in after}
        counted = sum(ms for name, ms in spent.items() if name not in ("busy", "client", processes.OTHER))
        spent[processes.OTHER] = max(0.0, spent.pop("busy") - spent["client"] - counted)
        client_ms = spent.pop("client")
        figures["processor_ms"] = {name: round(ms, 2) for name, ms in spent.items()}
        figures["processor_ms"]["all"] = round(sum(spent.values()), 2)
        figures["client_ms"] = round(client_ms, 2)
    return figures


def _used(server: private_server.PrivateServer | None) -> dict[str, float]:
    if server is None:
        return {}
    used = processes.processor_seconds(server.process.pid)
    return used | {"busy": processes.busy_seconds(), "client": processes.own_seconds()}


def floor(server: private_server.PrivateServer) -> Figures:
    before = _used(server)["PostgreSQL"]
    found = _program(server, "bench.floor", embedded.database_url(server.data_dir), str(FLOOR_CYCLES))
    postgres = 1000 * (_used(server)["PostgreSQL"] - before) / (FLOOR_CYCLES + 1)
    return {"process": round(found["processor_ms"], 2), "PostgreSQL": round(postgres, 2),
            "all": round(found["processor_ms"] + postgres, 2)}  # fmt: skip


def _program(server: private_server.PrivateServer, module: str, *args: str) -> Figures:
    """The JSON that another program prints, which has the server's environment."""
    command = [sys.executable, "-m", module, *args]
    said = subprocess.run(command, env=up.environment(server.data_dir), capture_output=True, text=True, check=True)
    found: Figures = json.loads(said.stdout.splitlines()[-1])
    return found


def park_others(client: Client, server: private_server.PrivateServer, number: int) -> None:
    """Until so many requests wait, each of a run of its own that is parked."""
    waiting = "SELECT count(*) FROM agents_run WHERE status = 'waiting'"
    missing = number - server.rows(waiting)[0][0]
    with ThreadPoolExecutor(STARTERS) as starters:
        list(starters.map(lambda _: client.start_detached(), range(missing)))
    private_server.eventually(lambda: server.rows(waiting)[0][0] >= number, 120 + number / 10)


def among(client: Client, server: private_server.PrivateServer | None, others: int, samples: int) -> Figures:
    """Everything that others who wait might slow down."""
    figures: Figures = {"others": others}
    if server and others:
        park_others(client, server, others)
        figures["memory"] = processes.settled(server.process.pid)
        figures["threads"] = processes.threads(server.process.pid)
    unit = client.unit()
    figures["unit_ms"] = round(1000 * unit, 2)
    figures["held"] = latencies(held(client, samples), unit)
    figures["parked"] = latencies(parked(client, samples), unit)
    figures["pending_list_ms"] = round(1000 * client.timed("/agents/hitl/pending", 10), 2)
    if server:
        figures["sweep_ms"] = round(_program(server, "bench.looks")["sweep_ms"], 2)
        figures |= seen(client, server)
    return figures


def measure(client: Client, server: private_server.PrivateServer | None, args: argparse.Namespace) -> Figures:
    cycles_at_once(client, 8, 3)  # what a process does once is not counted
    figures: Figures = {"throughput": {}, "among": []}
    for number in AT_ONCE:
        figures["throughput"][number] = throughput(client, server, number, args.seconds)
    if server:
        figures["floor_ms"] = floor(server)
    for others in args.others:
        figures["among"].append(among(client, server, others, args.samples))
    if server:
        figures["each_parked"] = _each_parked(figures["among"])
    return figures


def _each_parked(levels: list[Figures]) -> Figures:
    """Between the first and the last level that had others."""
    with_others = [level for level in levels if "memory" in level]
    if len(with_others) < 2:
        return {}
    first, last = with_others[0], with_others[-1]
    number = last["others"] - first["others"]
    grown = {name: last["memory"].get(name, 0) - first["memory"].get(name, 0) for name in last["memory"]}
    return {
        "kilobytes": round(sum(grown.values()) / number / 1000, 2),
        "kilobytes_but_for_the_cache": round((sum(grown.values()) - grown[processes.CACHE]) / number / 1000, 2),
        "kilobytes_by_process": {name: round(size / number / 1000, 2) for name, size in grown.items()},
        "threads": last["threads"] - first["threads"],
    }


def table(figures: Figures) -> Iterator[str]:
    yield f"{'others':>7}{'':8}{'':9}{'p50':>18}{'p90':>18}{'p99':>18}"
    for level in figures["among"]:
        for state in ("held", "parked"):
            for what, found in level[state].items():
                cells = "".join(f"{at['ms']:9.1f} ms {at['units']:5.1f}u" for at in found.values())
                yield f"{level['others']:>7} {state:7} {what:8} {cells}"
        rest = {k: v for k, v in level.items() if k.endswith("_ms")}
        yield f"{level['others']:>7} " + ", ".join(f"{name.removesuffix('_ms')} {ms} ms" for name, ms in rest.items())
    for number, found in figures["throughput"].items():
        spent = ", ".join(f"{name} {ms}" for name, ms in found.get("processor_ms", {}).items())
        yield f"{number:>3} at once: {found['cycles_per_second']:6.1f} cycles/s; processor ms per cycle: {spent}"
    if "floor_ms" in figures:
        yield f"floor: processor ms per cycle: {figures['floor_ms']}"
        yield f"each parked request: {figures['each_parked']}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a server; see the top of this file.")
    parser.add_argument("--url", help="a server that runs already; needs --key")
    parser.add_argument("--key")
    parser.add_argument(
        "--others", type=lambda text: [int(part) for part in text.split(",")], default=[0, 100, 1000, 10_000]
    )
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with ExitStack() as stack:
        server = None
        if args.url is None:
            server = stack.enter_context(private_server.running(HITL_HOLD_SECONDS=str(HOLD_SECONDS)))
            args.url, args.key = server.url, server.key
        else:
            args.others = [0]
        client = Client(args.url, args.key, stack.enter_context(clock()))
        figures = measure(client, server, args)
    print("\n".join(table(figures)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""Starts everything, keeps it alive, and stops it."""

import http.client
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from aip.launcher import embedded, processes
from aip.launcher.data_dir import CannotStart, lock_data_dir
from aip.launcher.supervisor import Child, say, stop, tend

MANAGE = settings.BASE_DIR / "manage.py"
MIGRATE_SECONDS = 600.0
READY_SECONDS = 60.0
HEALTH_CHECK_SECONDS = 2.0
HEALTH_CHECK_EVERY = 0.5
TEND_SECONDS = 0.1
MAX_PORT = 65535
# Web, worker and sweep; with the servers' own steps and what SIGKILL needs, all of it within ten seconds.
STOP_STEPS = ((signal.SIGTERM, 5.0),)
# The rows say who is alive; workers need not talk to each other.
WORKER_OPTIONS = ("--loglevel", "INFO", "--without-mingle", "--without-gossip")
# Tells our own processes from others when an earlier `up` was killed together with its chance to end them.
MARK = "AIP_UP_DATA_DIR"
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to connect to when we listen on all


class Command(BaseCommand):
    help = "Start the server: PostgreSQL, Valkey, worker, sweep and web."
    # The secrets that the checks ask for may not have been made yet; every child runs them.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
        parser.add_argument("--data-dir", type=Path, default=settings.DATA_DIR, help="default: %(default)s")
        parser.add_argument("--demo", action="store_true", help="make a demonstration agent and run it")

    def handle(self, *, host: str, port: int, data_dir: Path, demo: bool, **_options: Any) -> None:
        processes.stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        data_dir = data_dir.absolute()
        try:
            address, port = find_address(host, port)
            with lock_data_dir(data_dir):
                run(data_dir, address, port, demo=demo)
        except CannotStart as e:
            raise CommandError(str(e)) from None
        except processes.Stopped:
            say("stopped")


def run(data_dir: Path, address: str, port: int, *, demo: bool) -> None:
    """Start everything and keep it running until a signal comes."""
    end_left_over_children(data_dir)
    env = environment(data_dir)
    family: list[Child] = []
    try:
        start_servers(data_dir, family)
        migrate(data_dir, env)
        start_ours(family, env, address, port)
        await_health(family, address, port)
        print_addresses(data_dir, address, port)
        if demo:
            run_demo(family, env)
        while True:
            tend(family, TEND_SECONDS)
    finally:
        say("stopping")
        stop(family)
        embedded.remove_sockets(data_dir)


def find_address(host: str, port: int) -> tuple[str, int]:
    """The numeric address of `host`, and `port`, or a free one for 0; CannotStart if it is taken."""
    if not 0 <= port <= MAX_PORT:
        raise CannotStart(f"There is no port {port}; --port takes a number from 0 to {MAX_PORT}, 0 for a free one.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with closing(socket.socket(family, kind)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
            return str(address[0]), int(probe.getsockname()[1])
    except OSError as e:
        raise CannotStart(
            f"Cannot listen on {host} port {port}: {e.strerror}. "
            "Choose others with --host and --port; port 0 takes a free one."
        ) from e


def end_left_over_children(data_dir: Path) -> None:
    """What an `up` on this directory left when it was killed; we hold its lock, so there is no other."""

    def is_left_over(process: psutil.Process) -> bool:
        return process.environ().get(MARK) == str(data_dir)

    left = processes.end_left_overs(is_left_over)
    if left:
        raise CannotStart(f"Process {left[0].pid} of an earlier start cannot be ended. End it first.")


def environment(data_dir: Path) -> dict[str, str]:
    return {
        **os.environ,
        "AIP_DATA_DIR": str(data_dir),
        "DATABASE_URL": from_environment("DATABASE_URL") or embedded.database_url(data_dir),
        "REDIS_URL": from_environment("REDIS_URL") or embedded.redis_url(data_dir),
        "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "aip.settings"),
        MARK: str(data_dir),
    }


def from_environment(name: str) -> str:
    return os.environ.get(name, "").strip()


def start_servers(data_dir: Path, family: list[Child]) -> None:
    if not from_environment("DATABASE_URL"):
        family.append(Child("PostgreSQL", partial(embedded.start_postgres, data_dir), embedded.STOP_STEPS))
    if not from_environment("REDIS_URL"):
        family.append(Child("Valkey", partial(embedded.start_valkey, data_dir), embedded.STOP_STEPS))
    for child in family:
        child.begin()


def migrate(data_dir: Path, env: dict[str, str]) -> None:
    log = data_dir / "migrate.log"
    with embedded.open_log(log) as output:
        written = output.tell()
        command: list[str | Path] = [sys.executable, MANAGE, "migrate", "--no-input"]
        process = processes.spawn(command, cwd=settings.BASE_DIR, env=env, output=output)
    status = processes.finish(process, MIGRATE_SECONDS)
    if status != 0:
        raise CannotStart(f"The database cannot be migrated: {embedded.last_log_lines(log, written)}")


def start_ours(family: list[Child], env: dict[str, str], address: str, port: int) -> None:
    commands: dict[str, list[str | Path]] = {
        # Celery warns of running as root; tools, which it has in mind, run as nobody then.
        "worker": ["-W", "ignore:You're running the worker", "-m", "celery", "-A", "aip", "worker", *WORKER_OPTIONS],
        # `migrate` has made the checks, whose imports take a while.
        "sweep": [MANAGE, "sweep", "--skip-checks"],
        "web": ["-m", "daphne", "-b", address, "-p", str(port), "aip.asgi:application"],
    }
    for name, command in commands.items():
        start = partial(processes.spawn, [sys.executable, *command], cwd=settings.BASE_DIR, env=env)
        child = Child(name, start, STOP_STEPS)
        family.append(child)
        child.begin()


def await_health(family: list[Child], address: str, port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while missing := health(address, port):
        if time.monotonic() > deadline:
            raise CannotStart(f"Not ready after {READY_SECONDS:g} seconds: {missing}. See the lines above.")
        tend(family, HEALTH_CHECK_EVERY)


def health(address: str, port: int) -> str:
    """What /health-check finds missing; "" for nothing."""
    connection = http.client.HTTPConnection(reachable(address), port, timeout=HEALTH_CHECK_SECONDS)
    name = settings.ALLOWED_HOSTS[0].lstrip(".")
    try:
        connection.request("GET", "/health-check", headers={"Host": "localhost" if name == "*" else name})
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as e:
        return f"no answer ({e})"
    finally:
        connection.close()
    return "" if answer.status == http.HTTPStatus.OK else f"{answer.status} {body}"


def reachable(address: str) -> str:
    return ANY_ADDRESS.get(address, address)


def print_addresses(data_dir: Path, address: str, port: int) -> None:
    name = reachable(address)
    base = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    say(f"REST API  {base}/")
    say(f"Console   {base}/admin/   user: operator")
    say(f"API docs  {base}/docs/")
    say(f"API key                   {where_to_find('AIP_MASTER_API_KEY', data_dir / 'master-api-key')}")
    say(f"Operator's first password {where_to_find('AIP_OPERATOR_PASSWORD', data_dir / 'operator-password')}")
    say("Ctrl-C stops everything.")


def where_to_find(variable: str, path: Path) -> str:
    return f"the value of {variable}" if from_environment(variable) else f"in {path}"


def run_demo(family: list[Child], env: dict[str, str]) -> None:
    process = processes.spawn([sys.executable, MANAGE, "demo"], cwd=settings.BASE_DIR, env=env)
    try:
        while process.poll() is None:
            tend(family, TEND_SECONDS)
    finally:
        processes.end([process])
    if process.returncode:
        say("The demonstration did not succeed; the server goes on.")

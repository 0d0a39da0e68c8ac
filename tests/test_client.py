"""The published client, unmodified: `tests/client` runs in the client's environment, and each test there is one here.

The environment has the client and what those tests need, and nothing of the server's. uv makes it, and keeps it in its
cache.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.live import CHECKOUT
from tests.test_docs import README

# The version that the README names.
CLIENT = re.findall(r"glaip-sdk==[\d.]+", README)[0]
PACKAGES = (CLIENT, "httpx", "psutil", "psycopg[binary]", "pytest", "pytest-timeout")
DIRECTORY = "tests/client"
END_SECONDS = 60


def names() -> list[str]:
    """The tests there, found without their environment; one with parameters is one here."""
    return [
        f"{path.name}::{node.name}"
        for path in sorted((CHECKOUT / DIRECTORY).glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


class ClientSession:
    """The session there, as far as it has reported."""

    def __init__(self, reports: IO[str], log: Path) -> None:
        self.ended: dict[str, list[str]] = {}
        self._reports = reports
        self._log = log

    def failures(self, name: str) -> list[str]:
        """What went wrong in a test, as soon as it has ended."""
        while name not in self.ended:
            line = self._reports.readline()
            if not line:
                pytest.fail(f"the client's session ended without {name}:\n{self._log.read_text()}", pytrace=False)
            report = json.loads(line)
            self.ended[report["test"]] = report["failures"]
        return self.ended[name]


def start(wanted: list[str], log: Path, reports: int) -> "subprocess.Popen[bytes]":
    packages = [part for package in PACKAGES for part in ("--with", package)]
    # To compile all that the client brings takes longer than its tests.
    uv = [os.environ.get("UV", "uv"), "run", "--isolated", "--no-project", "--no-compile-bytecode", *packages]
    tests = [f"{DIRECTORY}/{name}" for name in wanted]
    command = [*uv, "python", "-m", "pytest", "-c", f"{DIRECTORY}/pytest.ini", "-p", "tests.client.reports", *tests]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {"AIP_TEST_PYTHON": sys.executable, "AIP_TEST_REPORTS": str(reports)}
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=CHECKOUT, env=env, pass_fds=[reports], stdout=output, stderr=output, start_new_session=True
        )


@contextmanager
def running(wanted: list[str], log: Path) -> Iterator[ClientSession]:
    read_end, write_end = os.pipe()
    process = start(wanted, log, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as reports:
        session = ClientSession(reports, log)
        try:
            yield session
        finally:
            if process.poll() is None and set(session.ended) != set(wanted):
                os.killpg(process.pid, signal.SIGINT)  # nobody waits for the rest
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


@pytest.fixture(scope="module")
def client_session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientSession]:
    """One for all tests that are wanted."""
    wanted = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    with running(wanted, tmp_path_factory.mktemp("client") / "log") as session:
        yield session


@pytest.mark.timeout(900)  # the tests there have a limit of their own
@pytest.mark.parametrize("name", names())
def test_the_published_client(client_session: ClientSession, name: str) -> None:
    if failures := client_session.failures(name):
        pytest.fail("\n\n".join(failures), pytrace=False)

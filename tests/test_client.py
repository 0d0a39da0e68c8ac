"""The published client, unmodified: `tests/client` runs in the client's environment, and each test there is one here.

Once for each version that the README names. The environment has the client and what those tests need, and nothing of
the server's. uv makes it, and keeps it in its cache.
"""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.live import CHECKOUT
from tests.test_docs import README

VERSIONS = re.findall(r"glaip-sdk==([\d.]+)", README)
PACKAGES = ("httpx", "psutil", "psycopg[binary]", "pytest", "pytest-timeout")
# Where a version does not take the Python that the server runs on.
PYTHONS = {"0.10.3": "3.12"}
UV = os.environ.get("UV", "uv")
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


def python_for(version: str) -> str | None:
    """The interpreter for a version of the client: ours, or one that is installed here; None where there is none."""
    if version not in PYTHONS:
        return sys.executable
    wanted = PYTHONS[version]
    command = [UV, "python", "find", wanted, "--system", "--no-project", "--no-python-downloads"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if found.returncode == 0:
        return found.stdout.strip()
    # pyenv's are not on the path unless they are chosen.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return next((str(path) for path in sorted(pyenv.glob(f"versions/{wanted}.*/bin/python{wanted}"))), None)


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


Sessions = dict[str, ClientSession]


def start(version: str, python: str, wanted: list[str], log: Path, reports: int) -> "subprocess.Popen[bytes]":
    packages = [part for package in (f"glaip-sdk=={version}", *PACKAGES) for part in ("--with", package)]
    # To compile all that the client brings takes longer than its tests.
    uv = [UV, "run", "--isolated", "--no-project", "--python", python, "--no-compile-bytecode", *packages]
    tests = [f"{DIRECTORY}/{name}" for name in wanted]
    command = [*uv, "python", "-m", "pytest", "-c", f"{DIRECTORY}/pytest.ini", "-p", "tests.client.reports", *tests]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env |= {"AIP_TEST_PYTHON": sys.executable, "AIP_TEST_REPORTS": str(reports)}
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=CHECKOUT, env=env, pass_fds=[reports], stdout=output, stderr=output, start_new_session=True
        )


@contextmanager
def running(version: str, python: str, wanted: list[str], log: Path) -> Iterator[ClientSession]:
    read_end, write_end = os.pipe()
    process = start(version, python, wanted, log, write_end)
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
def sessions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """One for each version, for all its tests that are wanted. All run at once, since they wait most of the time."""
    ours = [item.callspec.params for item in request.session.items if item.path == request.path]
    with ExitStack() as stack:
        found: Sessions = {}
        for version in dict.fromkeys(params["version"] for params in ours):
            wanted = [params["name"] for params in ours if params["version"] == version]
            if python := python_for(version):
                log = tmp_path_factory.mktemp("client") / "log"
                found[version] = stack.enter_context(running(version, python, wanted, log))
        yield found


@pytest.mark.timeout(900)  # the tests there have a limit of their own
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("version", VERSIONS)
def test_the_published_client(sessions: Sessions, version: str, name: str) -> None:
    if version not in sessions:
        pytest.skip(f"glaip-sdk {version} needs Python {PYTHONS[version]}, which is not installed here")
    if failures := sessions[version].failures(name):
        pytest.fail("\n\n".join(failures), pytrace=False)

"""The README's "Use it from Python" and "Use it from the shell", word for word."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from glaip_sdk import Client

from tests.client.shell import environment
from tests.live import CHECKOUT, Live, eventually
from tests.test_docs import README


def blocks(heading: str, language: str) -> list[str]:
    part = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


SETTINGS, *_ = blocks("Use it from Python", "sh")
OFFERS, DECIDE = blocks("Use it from Python", "python")
COMMANDS, WAITING = blocks("Use it from the shell", "sh")


class Reader:
    """Somebody who follows the README in one directory: what is set is set in the first terminal, as in the tour."""

    def __init__(self, server: Live, directory: Path) -> None:
        self.directory = directory
        self.env = environment(directory, BACKEND_URL=server.url, KEY=server.key)

    def start(self, script: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        command = ["bash", "-ec", f"{SETTINGS}\n{script}"]
        return subprocess.Popen(command, env=self.env, cwd=self.directory, stdout=pipe, stderr=pipe, text=True)

    def run(self, script: str) -> str:
        return finished(self.start(script))

    def python(self, name: str, source: str) -> str:
        (self.directory / name).write_text(source)
        return self.run(f"{sys.executable} {name}")


def finished(process: "subprocess.Popen[str]") -> str:
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, (output, errors)
    return output


@pytest.fixture(scope="module")
def reader(server: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    directory = tmp_path_factory.mktemp("reader")
    tool = (CHECKOUT / "examples" / "requires_approval_tool.py").read_text()
    (directory / "requires_approval_tool.py").write_text(tool)
    yield Reader(server, directory)
    with Client(api_url=server.url, api_key=server.key) as client:
        for found in [*client.find_agents("offers"), *client.find_tools("requires_approval_tool")]:
            found.delete()


@pytest.fixture(scope="module")
def offered(reader: Reader) -> str:
    return reader.python("offers.py", OFFERS)


@pytest.fixture(scope="module")
def commanded(reader: Reader) -> str:
    return reader.run(COMMANDS)


def test_python_deploys_runs_and_decides(offered: str) -> None:
    assert "requires_approval_tool wants {'action': 'Send the offer to jane.doe@example.com.'}" in offered
    assert "Recorded: Send the offer to jane.doe@example.com." in offered
    assert "Looks good" in offered


def test_the_shell_creates_and_runs(commanded: str) -> None:
    assert "You said: Good morning" in commanded
    assert "API call failed" not in commanded


@pytest.mark.usefixtures("offered", "commanded")
def test_the_shell_waits_until_python_decides_elsewhere(server: Live, reader: Reader) -> None:
    process = reader.start(WAITING)
    eventually(lambda: [entry for entry in server.pending() if entry["agent_id"].startswith("offers-")], 60)
    assert process.poll() is None
    assert "requires_approval_tool" in reader.python("decide.py", DECIDE)
    assert "Recorded: Send the offer to jane.doe@example.com." in finished(process)

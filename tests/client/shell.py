"""The `aip` command: as a process of its own, as a person starts it, or quicker in this one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from glaip_sdk.cli.main import main

BIN = Path(sys.executable).parent
# The command looks for a newer version of itself in the world, and does without when there is no way.
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of ours but the path: the command keeps its accounts elsewhere when it sees that a test runs it."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "COLUMNS": "200", "LANG": "C.UTF-8", "PYTHONUTF8": "1"} | NOWHERE | more


class Shell:
    """Starts commands in one home, with the accounts that this process knows."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = environment(home, AIP_CONFIG_DIR=os.environ["AIP_CONFIG_DIR"])

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A process of its own, which costs a second or two of a processor before it begins."""
        command = ["aip", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=self.env, cwd=self.home, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *arguments: str) -> str:
        """What a command printed, run in this process; one that fails is an AssertionError."""
        result = CliRunner(env=self.env).invoke(main, arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout

    def run_all(self, *commands: tuple[str, ...]) -> list[str]:
        return [self.run(*arguments) for arguments in commands]

    def read(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def read_all(self, *commands: tuple[str, ...]) -> list[Any]:
        return [self.read(*arguments) for arguments in commands]

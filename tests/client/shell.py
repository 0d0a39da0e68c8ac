"""The `aip` command as a person starts it: a process of its own, with a home of its own."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
# The command looks for a newer version of itself in the world, and does without when there is no way.
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of ours but the path: the command keeps its accounts elsewhere when it sees that a test runs it."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "COLUMNS": "200", "LANG": "C.UTF-8", "PYTHONUTF8": "1"} | NOWHERE | more


class Shell:
    """Starts commands in one home; each costs a second or two of a processor."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = ["aip", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            env=environment(self.home),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """What a command printed; one that fails is an AssertionError."""
        process = self.start(*arguments)
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, (arguments, output, errors)
        return output

    def run_all(self, *commands: tuple[str, ...]) -> list[str]:
        """What each of them printed; they run at the same time."""
        with ThreadPoolExecutor(len(commands)) as threads:
            return list(threads.map(lambda arguments: self.run(*arguments), commands))

    def read(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def read_all(self, *commands: tuple[str, ...]) -> list[Any]:
        return [json.loads(text) for text in self.run_all(*[(*command, "--json") for command in commands])]

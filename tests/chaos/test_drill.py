"""A short drill; `manage.py drill` is the whole one."""

import resource
import subprocess
import sys

from aip.drill.drill import Drill, Plan
from aip.drill.listener import listening
from tests.live import CHECKOUT, Live


def test_every_promise_holds_while_processes_are_killed_at_random(fragile: Live) -> None:
    plan = Plan(
        runs=20, kills=3, flushes=1, valkey_kills=1, pause=(0.1, 1.2), expiring=0.15, expire_seconds=5, end_seconds=100
    )
    with listening() as listener:
        report = Drill(fragile, listener, plan).run()
    assert report.broken == [], f"seed {plan.seed}"
    # A start that was not answered may have been one all the same.
    assert report.started == report.finished >= 20
    assert sum(listener.received.values()) > 0


def test_a_drill_of_no_runs_is_refused() -> None:
    command = [sys.executable, "manage.py", "drill", "--runs", "0"]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, "from 1" in said.stderr) == (1, True)


def test_a_drill_whose_server_does_not_start_says_why_and_shows_no_traceback() -> None:
    said = subprocess.run(
        [sys.executable, "manage.py", "drill", "--runs", "1"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # No file may be longer, so that PostgreSQL cannot make its directory.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert (said.returncode, "Traceback" in said.stderr) == (1, False)
    assert "CommandError: The drill came to no end: " in said.stderr
    assert "PostgreSQL" in said.stderr

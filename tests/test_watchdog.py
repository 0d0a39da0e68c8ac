"""A process one of whose loops stands still does not go on beating: it ends itself, and another takes its place."""

import os
import subprocess
import sys

import pytest

from tests.live import CHECKOUT

STAND_STILL = """
import sys, threading
import django
django.setup()
from django.test.utils import override_settings
from agents.runs import heartbeats
heartbeats.LONGEST_ROUND_SECONDS = 1
with override_settings(LEASE_SECONDS=1):
    watchdog = heartbeats.Watchdog("one", "two")
    over = threading.Event()
    def one():
        while not over.wait(0.2):
            watchdog.seen("one")
            if sys.argv[1] == "both":
                watchdog.seen("two")
    threading.Thread(target=one, daemon=True).start()
    threading.Timer(6, over.set).start()
    watchdog.guard(over)
"""


@pytest.mark.parametrize(("loops", "status"), [("both", 0), ("one", 1)])
def test_a_process_ends_when_one_of_its_loops_stands_still(loops: str, status: int) -> None:
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "aip.settings"}
    command = [sys.executable, "-c", STAND_STILL, loops]
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert ("The loop 'two' has stood still" in done.stderr) == bool(status)

"""What stops a start, and says what to do."""

import os
import subprocess
import sys
from typing import Any

import pytest

from aip import checks
from tests.live import CHECKOUT


@pytest.mark.django_db
def test_pools_that_do_not_fit_the_database_stop_the_migration(settings: Any) -> None:
    assert checks.pools_fit_the_database(None, databases=["default"]) == []
    settings.DATABASE_POOL_SIZE = 1000
    (error,) = checks.pools_fit_the_database(None, databases=["default"])
    assert error.id == "aip.E004"
    assert "may need 3008" in error.msg
    assert "Set max_connections of PostgreSQL to at least 3018" in str(error.hint)
    assert checks.pools_fit_the_database(None) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AIP_WORKER_CONCURRENCY", "zero", "AIP_WORKER_CONCURRENCY is 'zero'; it must be"),
        ("REDIS_URL", "foo", "REDIS_URL must begin with redis://"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must begin with postgresql://"),
    ],
)
def test_a_value_that_cannot_be_read_is_one_plain_line(name: str, value: str, says: str) -> None:
    command = [sys.executable, "manage.py", "up", "--port", "0"]
    env = {"PATH": os.defpath, "AIP_DATA_DIR": "/nonexistent", name: value}
    said = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith(f"A setting is wrong: {says}")
    assert said.stderr.count("\n") == 1

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


@pytest.mark.parametrize("host", ["http://x", "x:8000", "aip.example.com/", "::1", "[::1", "*.example.com", "a b"])
def test_what_is_no_name_of_a_host_stops_the_start_and_is_told_what_to_write(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["localhost", host]
    (error,) = checks.hosts_can_be_met(None)
    assert error.id == "aip.E005"
    assert f"'{host}'" in error.msg
    assert "without http://" in str(error.hint)


def test_names_of_hosts_are_let_through(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*", "localhost", "127.0.0.1", "[::1]", ".example.com", "aip_1.example.com", "bücher.de"]
    assert checks.hosts_can_be_met(None) == []


def test_the_web_process_names_variables_that_are_no_settings_and_starts() -> None:
    ours = {"AIP_MASTER_API_KEY": "k", "DJANGO_SECRET_KEY": "s", "AIP_DATA_DIR": "/nonexistent", "AIP_UP_DATA_DIR": "x"}
    clients = {"AIP_API_URL": "http://localhost:8000", "AIP_API_KEY": "k", "AIP_CONFIG_DIR": "/nonexistent"}
    wrong = {"HITL_HOLD_SECOND": "1", "AIP_WHATEVER": "1"}
    said = subprocess.run(
        [sys.executable, "-c", "import aip.asgi"],
        cwd=CHECKOUT,
        env={"PATH": os.defpath, **ours, **clients, **wrong},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stderr.count("aip.W001") == 2
    assert "HITL_HOLD_SECOND is set in the environment, and is not a setting" in said.stderr
    assert "Did you mean HITL_HOLD_SECONDS?" in said.stderr
    assert "AIP_WHATEVER is set in the environment" in said.stderr


@pytest.mark.parametrize(
    ("origins", "secure"),
    [("", False), ("https://a.example.com", True), ("https://a.example.com,http://localhost:8000", False)],
)
def test_cookies_go_over_tls_alone_where_nothing_else_is_named(origins: str, secure: bool) -> None:
    show = "from aip import settings; print(settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE)"
    env = {"PATH": os.defpath, "AIP_DATA_DIR": "/nonexistent", "CSRF_TRUSTED_ORIGINS": origins}
    said = subprocess.check_output([sys.executable, "-c", show], cwd=CHECKOUT, env=env, text=True, timeout=60)
    assert said.split() == [str(secure)] * 2

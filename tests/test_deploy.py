"""The container files: what they name exists, and what they start runs."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aip.launcher import embedded, processes

CHECKOUT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("build")}
SETTINGS = set(re.findall(r'env(?:_int|_list)?\("([A-Z_]+)"', (CHECKOUT / "aip" / "settings.py").read_text()))
POSTGRES_IMAGE = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
REQUIRED = {"AIP_MASTER_API_KEY", "AIP_OPERATOR_PASSWORD", "DJANGO_SECRET_KEY", "POSTGRES_PASSWORD"}


def dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (CHECKOUT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def health(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/health-check", timeout=5) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="aip-test-", dir="/tmp"))
    with embedded.running(directory):
        yield directory
    shutil.rmtree(directory)


def environment(data_dir: Path, service: dict[str, Any]) -> dict[str, str]:
    """As compose would give it, with servers that exist here."""
    given = dict.fromkeys(REQUIRED, "given")
    values = {}
    for name, text in service["environment"].items():
        values[name] = re.sub(
            r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda m: given.get(m[1], "" if "?" in m[0] else m[2] or ""), text
        )
    values |= {"DATABASE_URL": embedded.database_url(data_dir), "REDIS_URL": embedded.redis_url(data_dir)}
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **values}


def test_every_copied_file_exists_and_is_let_through():
    allowed = (CHECKOUT / ".dockerignore").read_text().splitlines()
    for source in [shlex.split(rest)[0] for word, rest in dockerfile() if word == "COPY"]:
        assert (CHECKOUT / source).exists(), source
        assert f"!{source}" in allowed


def test_every_package_of_ours_is_copied():
    copied = {shlex.split(rest)[0] for word, rest in dockerfile() if word == "COPY"}
    assert {path.parent.name for path in CHECKOUT.glob("*/apps.py")} <= copied


def test_the_image_does_not_run_as_root_by_itself():
    words = [word for word, _ in dockerfile()]
    assert dict(dockerfile())["USER"] not in {"root", "0"}
    assert words.index("USER") < words.index("CMD")


def test_what_runs_uploaded_tools_is_root_so_that_they_are_nobody():
    assert {name for name, service in OURS.items() if service.get("user") == "root"} == {"web", "worker"}


def test_every_variable_is_known_to_the_settings_or_to_the_image():
    for name, service in COMPOSE["services"].items():
        assert set(service.get("environment", {})) <= (SETTINGS if name in OURS else POSTGRES_IMAGE), name


def test_every_setting_of_the_readme_reaches_every_process():
    table = (CHECKOUT / "README.md").read_text().split("## Settings")[1].split("\n## ")[0]
    settings = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    given = {"DATABASE_URL", "REDIS_URL", "AIP_DATA_DIR"}  # there are servers for the first two, and nothing to keep
    for service in OURS.values():
        passed = {name for name, text in service["environment"].items() if f"${{{name}:" in text}
        assert settings - given == passed


def test_keys_of_model_providers_reach_the_worker_under_any_name():
    assert OURS["worker"]["env_file"] == [{"path": ".env", "required": False}]


def test_every_secret_must_be_given():
    text = (CHECKOUT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == REQUIRED
    assert not re.findall(rf"\$\{{({'|'.join(REQUIRED)})(?!:\?)", text)


def test_every_service_that_is_waited_for_and_every_volume_is_declared():
    services = COMPOSE["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]


def test_the_image_starts_what_the_web_service_starts():
    assert dict(dockerfile())["CMD"] == str(OURS["web"]["command"]).replace("'", '"')


def test_its_services_migrate_start_and_become_healthy(data_dir):
    port = free_port()
    started = []
    try:
        for name in ("migrate", "web", "worker", "sweep"):
            service = OURS[name]
            command = [part.replace("8000", str(port)) for part in service["command"]]
            command[0] = str(shutil.which(command[0], path=environment(data_dir, service)["PATH"]))
            process = processes.spawn(
                command, cwd=CHECKOUT, env=environment(data_dir, service), output=subprocess.DEVNULL
            )
            if name == "migrate":
                assert process.wait(60) == 0
            else:
                started.append(process)
        deadline = time.monotonic() + 60
        while health(port)[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert health(port) == (200, "")
        check = [part.replace("8000", str(port)) for part in OURS["web"]["healthcheck"]["test"][2:]]
        assert subprocess.run([sys.executable, *check], timeout=10).returncode == 0
        assert [process.poll() for process in started] == [None, None, None]
    finally:
        processes.end(started)

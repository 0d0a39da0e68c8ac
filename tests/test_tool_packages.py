"""Packages that a tool's file declares: allowed by name, resolved once, installed from wheels alone, kept apart."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.sandbox import environments, script_metadata
from agents.sandbox.manifest import ToolRejected
from tests import live, package_index
from tests.live import CHECKOUT, Live, eventually
from tests.package_index import Index


def file(*packages: str, body: str = "import shouting\n") -> bytes:
    declared = ", ".join(f'"{package}"' for package in packages)
    return (
        f"# /// script\n# dependencies = [{declared}]\n# ///\n{body}"
        "from langchain_core.tools import tool\n\n\n"
        '@tool\ndef shout(text: str) -> str:\n    "Shouts."\n    return shouting.loud(text)\n'
    ).encode()


NEWER = file("shouting").replace(b"dependencies", b'requires-python = ">=3.99"\n# dependencies')


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with package_index.serving() as found:
        found.add(
            "shouting", "1.0", "from volume import UP\n\ndef loud(text):\n    return text.upper() + UP\n", "volume"
        )
        found.add("volume", "2.0", "UP = '!'\n")
        found.add("clashing", "1.0", "", "langchain-core<0.3")
        yield found


@pytest.fixture(scope="module")
def allowing(index: Index) -> Iterator[Live]:
    """A server that allows the package, and has that index."""
    with live.running(
        AIP_TOOL_PACKAGES="shouting, clashing, absent", UV_DEFAULT_INDEX=index.url, HITL_HOLD_SECONDS="5"
    ) as server:
        yield server


def refusal(server: Live, source: bytes) -> str:
    answer = server.client.post("/tools/upload", files={"file": ("tool.py", source)})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["message"])


def test_its_environment_is_built_once_and_its_gated_call_runs(allowing: Live, index: Index) -> None:
    tool = allowing.upload(file("shouting"), name="shout")
    agent = allowing.create_agent(
        tools=[tool["id"]], agent_config={"hitl_enabled": True}, tool_configs={tool["id"]: {"hitl": {}}}
    )
    index.asked.clear()
    stream = allowing.run(agent, "hello")
    request = eventually(lambda: next((one for one in allowing.pending() if one["tool"] == "shout"), None))
    assert allowing.decide(request["request_id"], "approved").status_code == 200
    assert "shout: HELLO!" in stream.finish()["content"]
    assert index.asked == []


def test_no_tool_can_write_what_others_import(allowing: Live) -> None:
    allowing.upload(file("shouting"), name="shout_again")
    (place,) = [each for each in (allowing.data_dir / "tool-packages").iterdir() if not each.name.startswith(".")]
    for path in [place, *place.rglob("*")]:
        assert path.stat().st_uid == os.geteuid()
        assert path.stat().st_mode & 0o022 == 0
        assert path.stat().st_mode & 0o004


def test_a_server_that_does_not_allow_it_names_package_metadata_and_setting(server: Live) -> None:
    message = refusal(server, file("shouting"))
    for words in ("the package shouting", "# /// script", "AIP_TOOL_PACKAGES"):
        assert words in message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (file("absent"), "absent was not found"),
        (file("clashing"), "langchain-core"),
        (file("shouting>=9"), "shouting"),
        (file("shouting @ https://127.0.0.1/x.whl"), "names an address"),
        (file("not a requirement!"), "cannot be read"),
        (NEWER, "requires Python >=3.99"),
        (b"# /// script\n# dependencies = [\n# ///\n", "not valid TOML"),
        (b'# /// script\n# dependencies = "shouting"\n# ///\n', "must be a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_declaration_that_cannot_be_met_is_refused_with_the_reason(allowing: Live, source: bytes, words: str) -> None:
    message = refusal(allowing, source)
    assert words in message
    assert "127.0.0.1:" not in message


BUILD = """
import json, sys
from pathlib import Path
from agents.sandbox import environments
print(environments.path_of(json.loads(sys.argv[1]), Path(sys.argv[2])))
"""


def test_a_build_that_is_killed_leaves_nothing_half_and_is_done_again(index: Index) -> None:
    os.environ["UV_DEFAULT_INDEX"] = index.url
    root = Path(f"/tmp/aip-test-packages-{os.getpid()}")
    try:
        packages = environments.resolve(script_metadata.declared(file("shouting").decode()))
        assert [(one["name"], one["version"]) for one in packages["resolved"]] == [
            ("shouting", "1.0"),
            ("volume", "2.0"),
        ]
        index.asked.clear()
        index.open.clear()
        builder = subprocess.Popen([sys.executable, "-c", BUILD, json.dumps(packages), str(root)], cwd=CHECKOUT)
        eventually(lambda: any(path.endswith(".whl") for path in index.asked), 30)
        builder.send_signal(signal.SIGKILL)
        builder.wait(10)
        assert all(each.name.startswith(".") for each in root.iterdir())
        index.open.set()
        place = Path(environments.path_of(packages, root))
        assert (place / "shouting.py").exists()
        assert [each for each in root.iterdir() if ".begun" in each.name] == []
    finally:
        index.open.set()
        del os.environ["UV_DEFAULT_INDEX"]
        subprocess.run(["rm", "-rf", root], check=True)


def test_another_wheel_under_the_same_version_is_not_installed(index: Index) -> None:
    os.environ["UV_DEFAULT_INDEX"] = index.url
    root = Path(f"/tmp/aip-test-packages-{os.getpid()}")
    kept = index.wheels["volume-2.0-py3-none-any.whl"]
    try:
        packages = environments.resolve(script_metadata.declared(file("shouting").decode()))
        index.add("volume", "2.0", "UP = ' and something else'\n")
        with pytest.raises(environments.PackagesUnavailable, match=r"[Hh]ash"):
            environments.path_of(packages, root)
    finally:
        index.wheels["volume-2.0-py3-none-any.whl"] = kept
        del os.environ["UV_DEFAULT_INDEX"]
        subprocess.run(["rm", "-rf", root], check=True)


def test_a_file_may_not_declare_twice() -> None:
    with pytest.raises(ToolRejected, match="more than one block"):
        script_metadata.declared(file("a").decode() + "\n" + file("b").decode())

"""schemathesis over the server's own OpenAPI description.

    python -m tests.fuzz --seconds 600 --seed 7

starts a private server, which nothing else knows, and looks for answers of 5xx, statuses and bodies that are not
described, and answers without the key, until the time is spent. The suite runs a short part of it.

Left out: `POST /agents/{agent_id}/run`, whose answer is a stream that lasts as long as its run. No agent gates a tool.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

from tests.live import TOOLS, Live, running

# By the wire contract what is not known is ignored, an empty parameter is an absent one, and what is not built is 404,
# not 405. A file that is a tool, and settings that fit together, cannot be described. The ids are given below, so
# that what was created before, or deleted, is another.
NOT_CHECKED = (
    "negative_data_rejection,positive_data_acceptance,unsupported_method,allow_header_conformance,"
    "ensure_resource_availability,use_after_free"
)
RUN = "/agents/{agent_id}/run"


def seeds(server: Live) -> str:
    """Things that are there, and which operation gets which: schemathesis can upload no tool and start no run.

    What is deleted, and restored, is another than what is read.
    """
    source = (TOOLS / "reporter.py").read_bytes()
    kept, doomed = (server.upload(source, name=f"fuzzed {word}")["id"] for word in ("kept", "doomed"))
    agent, doomed_agent = (server.create_agent(name=f"fuzzed {word}", tools=[kept]) for word in ("kept", "doomed"))
    run = server.run(agent, "Answer: hello")
    run.finish()
    return "\n".join(
        [
            given("runs_.*", agent_id=agent, run_id=run.run_id),
            given("agents_(get|replace|update)", agent_id=agent),
            given("agents_(delete|restore)", agent_id=doomed_agent),
            given("tools_(get|update|upload_again|script)", tool_id=kept),
            given("tools_delete", tool_id=doomed),
        ]
    )


def given(operations: str, **ids: str) -> str:
    """That these operations get these ids, in schemathesis' own configuration."""
    values = ", ".join(f'"path.{name}" = "{value}"' for name, value in ids.items())
    return f"[[operations]]\ninclude-operation-id-regex = '^{operations}$'\nparameters = {{ {values} }}\n"


def fuzz(server: Live, *options: str, timeout: float) -> "subprocess.CompletedProcess[str]":
    """schemathesis at this server. Its status is 0 when it found nothing; its output says how to repeat what it did."""
    with tempfile.TemporaryDirectory(prefix="aip-fuzz-") as directory:
        config = Path(directory) / "schemathesis.toml"
        config.write_text(seeds(server))
        command = ["schemathesis", "--config-file", config, "run", f"{server.url}/schema/"]
        command += ["--header", f"X-API-Key: {server.key}", "--exclude-path", RUN]
        command += ["--checks", "all", "--exclude-checks", NOT_CHECKED, "--continue-on-failure", *options]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=directory, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=timeout
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with running() as server:
        options = ("--max-time", str(given.seconds), "--seed", str(given.seed), "--max-examples", "100")
        found = fuzz(server, *options, timeout=given.seconds + 120)
    sys.stdout.write(found.stdout + found.stderr)
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())

"""What is too long for the suite, on a server of its own.

`python -m tests.chaos storm`: 300 runs, 20 kills, 5 flushes, 3 deaths of Valkey; some ten minutes.
`python -m tests.chaos parked`: 2,000 parked runs, 500 of them with their stream open.
"""

import os
import shutil
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

from tests import listener, live
from tests.chaos.parked import many_parked
from tests.chaos.storm import Storm


def storm(server: live.Live, world: listener.Listener) -> str:
    all_of_it = Storm(
        server, world, runs=300, expiring=20, kills=20, flushes=5, valkey_kills=3, pause=(1, 8), expire_seconds=30
    )
    all_of_it.blow(seconds=900)
    return f"every promise held: {dict(all_of_it.said)}"


def parked(server: live.Live, world: listener.Listener) -> str:
    tool = server.upload("reporter.py", name="reporter")["id"]
    config = {"hitl": {"timeout_seconds": 3600}, "listener": world.url}
    agent = server.create_agent(tools=[tool], agent_config={"hitl_enabled": True}, tool_configs={tool: config})
    before = many_parked(server, agent, runs=2000, streams=500)
    return f"before, and at most so meanwhile: {before}"


(name,) = sys.argv[1:]
with listener.listening() as world, live.running(HITL_HOLD_SECONDS="2") as server:
    began = time.monotonic()
    try:
        print({"storm": storm, "parked": parked}[name](server, world))  # noqa: T201
    except BaseException:
        print("the server's log:", shutil.copy(server.data_dir.with_suffix(".log"), f"/tmp/chaos-{name}.log"))  # noqa: T201
        raise
    print(f"{time.monotonic() - began:.0f} s")  # noqa: T201

"""What is too long for the suite, on a server of its own: 2,000 parked runs, 500 of them with their stream open.

`python -m tests.chaos`
"""

import os
import shutil
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

from tests import live
from tests.chaos.parked import many_parked

with live.running(HITL_HOLD_SECONDS="2") as server:
    began = time.monotonic()
    try:
        tool = server.upload("reporter.py", name="reporter")["id"]
        config = {"hitl": {"timeout_seconds": 3600}}
        agent = server.create_agent(tools=[tool], agent_config={"hitl_enabled": True}, tool_configs={tool: config})
        before = many_parked(server, agent, runs=2000, streams=500)
    except BaseException:
        print("the server's log:", shutil.copy(server.data_dir.with_suffix(".log"), "/tmp/parked.log"))  # noqa: T201
        raise
    print(f"before, and at most so meanwhile: {before}; {time.monotonic() - began:.0f} s")  # noqa: T201

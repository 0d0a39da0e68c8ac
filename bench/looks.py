"""How long a look of the sweep takes, in milliseconds, the median; run with the environment of a server."""

import json
import os
import statistics
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

import django

django.setup()

from agents.runs import lifecycle, requeue
from hitl import approvals

LOOKS = 30


def look() -> float:
    began = time.perf_counter()
    approvals.time_out_overdue()
    lifecycle.end_overdue()
    requeue.release_expired()
    requeue.requeue_lost()
    return time.perf_counter() - began


if __name__ == "__main__":
    look()
    print(json.dumps({"sweep_ms": 1000 * statistics.median(look() for _ in range(LOOKS))}))

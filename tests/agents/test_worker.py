"""A worker that has started beats, whatever else goes wrong."""

import sys
import threading

import pytest

from agents.runs import heartbeats, worker
from agents.sandbox import client as sandbox
from tests.live import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def test_a_worker_whose_sandbox_does_not_start_beats_all_the_same_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.close()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(worker, "_stopped", threading.Event())
    worker.on_ready()
    try:
        eventually(lambda: "worker" in heartbeats.alive())
    finally:
        worker.on_shutdown()
        for thread in threading.enumerate():
            if thread.name in ("heartbeat", "watchdog"):
                thread.join(20)
    assert "uploaded tools is not ready: The helper that runs uploaded tools did not start" in caplog.text

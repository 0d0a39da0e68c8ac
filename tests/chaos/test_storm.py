"""A short storm; `python -m tests.chaos storm` is the whole one."""

from tests.chaos.storm import Storm
from tests.listener import Listener
from tests.live import Live


def test_every_promise_holds_while_processes_are_killed_at_random(fragile: Live, world: Listener) -> None:
    storm = Storm(
        fragile,
        world,
        runs=20,
        expiring=3,
        kills=3,
        flushes=1,
        valkey_kills=1,
        pause=(0.1, 1.2),
        expire_seconds=5,
    )
    storm.blow(seconds=100)

"""Runs that wait, people who decide, and processes that are killed at random meanwhile; then an account of it all."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis

from aip import embedded
from tests.listener import Listener
from tests.live import TOOLS, Live, eventually

# The tool reports its call, then takes half a second.
SLOW = (TOOLS / "reporter.py").read_bytes().replace(b"        return f", b"        time.sleep(0.5)\n        return f")
SLOW = SLOW.replace(b"import json\n", b"import json\nimport time\n")
WORDS = ["approved"] * 6 + ["rejected"] * 2 + ["skipped"] * 2
# Decisions that come at once.
BURST = 4
ENDED = "('succeeded', 'failed', 'cancelled')"


@dataclass
class Storm:
    """How much of it: `expiring` of the runs are decided by nobody, within `expire_seconds`."""

    server: Live
    world: Listener
    runs: int
    expiring: int
    kills: int
    flushes: int
    valkey_kills: int
    pause: tuple[float, float]
    expire_seconds: float
    seed: int = field(default_factory=lambda: random.randrange(10**6))
    texts: dict[str, str] = field(default_factory=dict)  # by run
    recorded: dict[str, str] = field(default_factory=dict)  # by request: what was answered 200
    said: Counter[str] = field(default_factory=Counter)

    def blow(self, seconds: float) -> None:
        """All of it; raises AssertionError, which names the seed, when a promise was broken."""
        dice = random.Random(self.seed)
        tool = self.server.upload(SLOW, name=f"storm {self.seed}")["id"]
        agent, quick = (self.agent(tool, timeout) for timeout in (600, self.expire_seconds))
        for _ in range(self.runs):
            self.start(agent)
        pending = "SELECT count(*) FROM hitl_approvalrequest WHERE status = 'pending' AND run_id::text = ANY(%s)"
        eventually(lambda: self.server.rows(pending, list(self.texts)) == [(self.runs,)], 60 + self.runs / 2)
        for _ in range(self.expiring):
            self.start(quick)
        over = threading.Event()
        deciding = threading.Thread(target=self.decide_until, args=(over, quick, random.Random(self.seed)))
        deciding.start()
        try:
            for harm in self.harms(dice):
                harm()
                time.sleep(dice.uniform(*self.pause))
            left = f"SELECT count(*) FROM agents_run WHERE id::text = ANY(%s) AND status NOT IN {ENDED}"
            eventually(lambda: self.server.rows(left, list(self.texts)) == [(0,)], seconds)
        finally:
            over.set()
            deciding.join(60)
        self.account()

    def agent(self, tool: str, timeout: float) -> str:
        config = {"hitl": {"timeout_seconds": timeout}, "listener": self.world.url}
        return self.server.create_agent(tools=[tool], agent_config={"hitl_enabled": True}, tool_configs={tool: config})

    def start(self, agent: str) -> None:
        text = f"storm {uuid.uuid4()}"
        with self.server.client.stream("POST", f"/agents/{agent}/run", json={"input": text}) as answer:
            self.texts[answer.headers["X-Run-ID"]] = text

    @property
    def harm_seconds(self) -> float:
        return (self.kills + self.flushes + self.valkey_kills) * sum(self.pause) / 2

    def harms(self, dice: random.Random) -> list[Callable[[], None]]:
        names = ["celery", "sweep", "daphne"]
        harms: list[Callable[[], None]] = [
            lambda name=names[i % 3]: self.server.kill(name)  # type: ignore[misc]
            for i in range(self.kills)
        ]
        harms += [self.flush] * self.flushes + [lambda: self.server.kill("valkey-server")] * self.valkey_kills
        dice.shuffle(harms)
        return harms

    def flush(self) -> None:
        try:
            redis.Redis.from_url(embedded.redis_url(self.server.data_dir)).flushall()
        except redis.RedisError:
            self.said["flush while Valkey was dead"] += 1

    def decide_until(self, over: threading.Event, quick: str, dice: random.Random) -> None:
        """Decide at random, one after the other; whatever is answered, or not at all, is met again in the list."""
        with httpx.Client(base_url=self.server.url, headers={"X-API-Key": self.server.key}, timeout=15) as client:
            while not over.is_set():
                try:
                    listed = client.get("/agents/hitl/pending").json()
                    ours = [r for r in listed if r["run_id"] in self.texts and not r["agent_id"].endswith(quick[:8])]
                    for request in dice.sample(ours, min(len(ours), BURST)):
                        word = dice.choice(WORDS)
                        body = {"request_id": request["request_id"], "decision": word}
                        answer = client.post("/agents/hitl/decision", json=body)
                        self.said[f"{word} {answer.status_code}"] += 1
                        if answer.status_code == 200:
                            self.recorded[request["request_id"]] = word
                except (httpx.TransportError, ValueError, TypeError):  # web is dead, or answers 503
                    self.said["no answer"] += 1
                    time.sleep(0.1)
                # As long as the harm goes on, so that each meets calls that are just decided, and run.
                over.wait(BURST * self.harm_seconds / self.runs)

    def account(self) -> None:
        ids = list(self.texts)
        where = "WHERE run_id::text = ANY(%s)"
        requests: dict[str, list[Any]] = {run: [] for run in ids}
        columns = "run_id::text, id::text, round, status, execution, output"
        for run, *request in self.server.rows(
            f"SELECT {columns} FROM hitl_approvalrequest {where} ORDER BY round", ids
        ):
            requests[run].append(request)
        statuses = dict(self.server.rows("SELECT id::text, status FROM agents_run WHERE id::text = ANY(%s)", ids))
        events: dict[str, list[Any]] = {run: [] for run in ids}
        for run, *event in self.server.rows(
            f"SELECT run_id::text, seq, key, payload FROM agents_runevent {where} ORDER BY run_id, seq", ids
        ):
            events[run].append(event)
        problems = []
        for run, text in self.texts.items():
            heard = self.world.count(text)
            approved = [r for r in requests[run] if r[2] == "approved"]
            unknown = [r for r in approved if r[3] == "unknown"]
            checks = {
                "it succeeded": statuses[run] == "succeeded",
                "its events have no gap": [e[0] for e in events[run]] == list(range(1, len(events[run]) + 1)),
                "one terminal event, the last": [bool(e[2].get("is_final")) for e in events[run]].index(True)
                == len(events[run]) - 1,
                "each request was announced once": sum(e[1].startswith("pending:") for e in events[run])
                == len(requests[run]),
                "no more calls than approvals": heard <= len(approved),
                "what finished was heard": heard >= sum(r[3] == "finished" for r in approved),
                "every approved call ran or is asked again": all(
                    r[3] == "finished" or (r[3] == "unknown" and r[1] < len(requests[run])) for r in approved
                ),
                "what was not approved did not run": heard == 0 or bool(approved),
                "what was answered 200 is recorded": all(self.recorded.get(r[0], r[2]) == r[2] for r in requests[run]),
                "nothing is left open": all(r[2] != "pending" for r in requests[run]),
            }
            last = events[run][-1][2].get("content")
            problems += [(check, run, heard, requests[run], last) for check, holds in checks.items() if not holds]
            self.said["asked again"] += len(unknown)
            self.said["calls"] += heard
        assert not problems, f"seed {self.seed}: {problems[:5]} and {len(problems) - 5} more"

"""The drill: runs that wait, people who decide, and processes that are killed meanwhile."""

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import redis

from aip.drill.listener import Listener
from aip.drill.report import Report, make_report
from aip.launcher import embedded
from aip.launcher.private_server import PrivateServer, eventually

TOOL = Path(__file__).with_name("reporting_tool.py")
# The server's processes, by a part of their command lines.
VICTIMS = {"worker": "celery", "sweep": "sweep", "web": "daphne"}
VALKEY = "valkey-server"
DECISIONS = ["approved"] * 6 + ["rejected"] * 2 + ["skipped"] * 2
ENDED = "('succeeded', 'failed', 'cancelled')"
# How many decisions come at once; how many clients start runs.
BURST = 4
STARTERS = 4
LONG_SECONDS = 3600

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what. `pause`: seconds between two harms, from and to. `expiring`: share that nobody decides."""

    runs: int
    kills: int = 20
    flushes: int = 5
    valkey_kills: int = 3
    pause: tuple[float, float] = (1.0, 8.0)
    expiring: float = 0.05
    expire_seconds: float = 30.0
    # For everything to come to its end after the last harm.
    end_seconds: float = 600.0
    seed: int = field(default_factory=lambda: random.randrange(10**6))

    @property
    def harm_seconds(self) -> float:
        return (self.kills + self.flushes + self.valkey_kills) * sum(self.pause) / 2


class Drill:
    """One drill on a private server. `finished` and `pending` are its progress."""

    def __init__(self, server: PrivateServer, listener: Listener, plan: Plan, say: Say = lambda _: None) -> None:
        self.server = server
        self.listener = listener
        self.plan = plan
        self.say = say
        self.dice = random.Random(plan.seed)
        self.answered: set[str] = set()  # the runs whose start was answered
        self.recorded: dict[str, str] = {}  # by request id: a decision that was answered 200
        self.answers: Counter[str] = Counter()
        self.over = threading.Event()
        self.deciding = threading.Lock()
        self.agents: list[str] = []

    def run(self) -> Report:
        """All of it. Raises AssertionError when a process that was killed is not back within a minute."""
        with self.server.http() as client:
            tool = self._upload(client)
            patient, hasty = (self._agent(client, tool, s) for s in (LONG_SECONDS, self.plan.expire_seconds))
        self.agents = [patient, hasty]
        starting = threading.Thread(target=self._start_all, args=(patient, hasty), name="starters")
        deciding = threading.Thread(target=self._decide, args=(hasty, random.Random(self.plan.seed)), name="decider")
        for thread in (starting, deciding):
            thread.start()
        try:
            self._harm()
            starting.join(120 + self.plan.runs)
            self._await_the_end(self.plan.end_seconds)
        finally:
            self.over.set()
            for thread in (starting, deciding):
                thread.join(60)
        return self._report()

    # What the people do

    def _upload(self, client: httpx.Client) -> str:
        answer = client.post("/tools/upload", files={"file": (TOOL.name, TOOL.read_bytes())})
        answer.raise_for_status()
        return str(answer.json()["data"]["id"])

    def _agent(self, client: httpx.Client, tool: str, timeout_seconds: float) -> str:
        config = {"hitl": {"timeout_seconds": timeout_seconds}, "port": self.listener.port}
        body = {
            "name": "drill",
            "tools": [tool],
            "agent_config": {"hitl_enabled": True},
            "tool_configs": {tool: config},
        }
        answer = client.post("/agents/", json=body)
        answer.raise_for_status()
        return str(answer.json()["data"]["id"])

    def _start_all(self, patient: str, hasty: str) -> None:
        expiring = round(self.plan.runs * self.plan.expiring)
        agents = [hasty] * expiring + [patient] * (self.plan.runs - expiring)
        self.dice.shuffle(agents)
        with ThreadPoolExecutor(STARTERS) as starters:
            list(starters.map(self._start, agents))

    def _start(self, agent: str) -> None:
        """Start one run and disconnect at once; retry while the web process is dead."""
        while not self.over.is_set():
            text = f"drill {uuid.uuid4()}"
            try:
                with (
                    self.server.http(15) as client,
                    client.stream("POST", f"/agents/{agent}/run", json={"input": text}) as answer,
                ):
                    if answer.status_code == 200:
                        self.answered.add(answer.headers["X-Run-ID"])
                        return
            except httpx.TransportError:
                pass
            self.answers["start without an answer"] += 1
            self.over.wait(0.2)

    def _decide(self, hasty: str, dice: random.Random) -> None:
        """Decide at random; a decision without an answer is made again. Nobody decides for the hasty agent."""
        with self.server.http(15) as client:
            # As long as the harm goes on, so that each meets calls that are just decided, and run.
            while not self.over.wait(BURST * self.plan.harm_seconds / self.plan.runs):
                try:
                    listed = client.get("/agents/hitl/pending").raise_for_status().json()
                    ours = [request for request in listed if not request["agent_id"].endswith(hasty[:8])]
                    with self.deciding:
                        for request in dice.sample(ours, min(len(ours), BURST)):
                            self._decide_one(client, request["request_id"], dice.choice(DECISIONS))
                except httpx.HTTPError:
                    self.answers["no answer"] += 1

    def _decide_one(self, client: httpx.Client, request_id: str, decision: str) -> None:
        answer = client.post("/agents/hitl/decision", json={"request_id": request_id, "decision": decision})
        self.answers[f"{decision} {answer.status_code}"] += 1
        if answer.status_code == 200:
            self.recorded[request_id] = decision

    # What is done to the server

    def _harm(self) -> None:
        plan = self.plan
        victims = itertools.islice(itertools.cycle(VICTIMS.items()), plan.kills)
        harms: list[Callable[[], str]] = [partial(self._kill, *victim) for victim in victims]
        harms += [self._flush] * plan.flushes + [partial(self._kill, "Valkey", VALKEY)] * plan.valkey_kills
        self.dice.shuffle(harms)
        for harm in harms:
            time.sleep(self.dice.uniform(*plan.pause))
            with self.deciding:
                before = self.pending()
                done = harm()
                self.say(f"{done}: {before} pending before, {self.pending()} after")

    def _kill(self, name: str, command: str) -> str:
        self.server.kill(command)
        return f"{name} killed"

    def _flush(self) -> str:
        try:
            redis.Redis.from_url(embedded.redis_url(self.server.data_dir)).flushall()
        except redis.RedisError:
            return "Redis is dead and cannot be flushed"
        return "Redis flushed"

    # How far it is, and what came of it

    def pending(self) -> int:
        sql = "SELECT count(*) FROM hitl_approvalrequest WHERE status = 'pending' AND agent_id::text = ANY(%s)"
        return int(self.server.rows(sql, self.agents)[0][0])

    def finished(self) -> int:
        sql = f"SELECT count(*) FROM agents_run WHERE agent_id::text = ANY(%s) AND status IN {ENDED}"
        return int(self.server.rows(sql, self.agents)[0][0])

    def _left(self) -> int:
        sql = f"SELECT count(*) FROM agents_run WHERE agent_id::text = ANY(%s) AND status NOT IN {ENDED}"
        return int(self.server.rows(sql, self.agents)[0][0])

    def _await_the_end(self, seconds: float) -> None:
        try:
            eventually(lambda: self._left() == 0, seconds)
        except AssertionError:
            self.say(f"{self._left()} runs have not ended {seconds:.0f} s after the last harm")

    def _report(self) -> Report:
        report = make_report(self.server, self.agents, self.listener.received, self.answered, self.recorded)
        report.answers = self.answers
        return report

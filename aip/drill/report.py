"""The report of a drill.

It compares three independent records: the responses that clients received, the rows, and the calls that the drill's
listener received.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aip.launcher.private_server import PrivateServer


class Request(NamedTuple):
    id: str
    round: int
    status: str
    execution: str


class Event(NamedTuple):
    seq: int
    key: str
    is_final: bool


@dataclass
class Report:
    """Each line of `lost`, `run_twice` and `against` (a decision) names a run, and how the promise was broken."""

    started: int = 0
    finished: int = 0
    asked_again: int = 0
    lost: list[str] = field(default_factory=list)
    run_twice: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> list[str]:
        return self.lost + self.run_twice + self.against


def make_report(
    server: PrivateServer, agents: list[str], received: Counter[str], answered: Set[str], recorded: Mapping[str, str]
) -> Report:
    """The report of all runs of `agents`.

    received: calls of the tool, by the text that they reported, which is the input of their run
    answered: ids of the runs whose start was answered
    recorded: each decision that was answered 200, by the request's id
    """
    of_these = "WHERE run_id IN (SELECT id FROM agents_run WHERE agent_id::text = ANY(%s))"
    runs = server.rows("SELECT id::text, input, status FROM agents_run WHERE agent_id::text = ANY(%s)", agents)
    requests: dict[str, list[Request]] = defaultdict(list)
    for run, *request in server.rows(
        f"SELECT run_id::text, id::text, round, status, execution FROM hitl_approvalrequest {of_these} ORDER BY round",
        agents,
    ):
        requests[run].append(Request(*request))
    events: dict[str, list[Event]] = defaultdict(list)
    is_final = "COALESCE((payload->>'is_final')::boolean, false)"
    for run, *event in server.rows(
        f"SELECT run_id::text, seq, key, {is_final} FROM agents_runevent {of_these} ORDER BY run_id, seq", agents
    ):
        events[run].append(Event(*event))
    report = Report(started=len(runs))
    report.lost += [f"run {run} was answered, and there is none" for run in answered - {row[0] for row in runs}]
    for run, text, status in runs:
        report.finished += status == "succeeded"
        report.asked_again += sum(request.round > 1 for request in requests[run])
        calls = received[text]
        evidence = f"(calls heard: {calls}, requests: {requests[run]})"
        for lines, problems in (
            (report.lost, _lost(status, calls, requests[run], events[run])),
            (report.run_twice, _run_twice(calls, requests[run])),
            (report.against, _against(calls, requests[run], recorded)),
        ):
            lines += [f"run {run}: {problem} {evidence}" for problem in problems]
    return report


def _approved(requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.status == "approved"]


def _lost(status: str, calls: int, requests: list[Request], events: list[Event]) -> Iterator[str]:
    approved = _approved(requests)
    ran = [request for request in approved if request.execution == "finished"]
    again = [request for request in approved if request.execution == "unknown" and request.round < len(requests)]
    if status != "succeeded":
        yield f"it is {status}"
    if any(request.status == "pending" for request in requests):
        yield "a request is open"
    if len(ran) + len(again) < len(approved):
        yield "an approved call neither ran nor was asked about again"
    if calls < len(ran):
        yield "a call is recorded as finished and was not heard"
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield "its events have a gap"
    if [event.is_final for event in events] != [False] * (len(events) - 1) + [True]:
        yield "its last event is not the one that ends it"
    if sum(event.key.startswith("pending:") for event in events) != len(requests):
        yield "a request was not announced once"


def _run_twice(calls: int, requests: list[Request]) -> Iterator[str]:
    if calls > len(_approved(requests)):
        yield "it was called more often than it was approved"


def _against(calls: int, requests: list[Request], recorded: Mapping[str, Any]) -> Iterator[str]:
    if calls and not _approved(requests):
        yield "it was called and not approved"
    if any(recorded.get(request.id, request.status) != request.status for request in requests):
        yield "another decision stands than the one that was answered"

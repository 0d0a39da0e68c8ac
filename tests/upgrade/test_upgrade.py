"""A database of before the upgrade: what waits in it is decided, runs once, and is not asked about again."""

import base64
import inspect
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from aip.celery import app
from tests import listener, live
from tests.hitl.calls import a_call
from tests.live import Live, eventually
from tests.upgrade.make_dump import PASSWORD, STATES
from tests.upgrade.restored import MESSAGE, Row, Snapshot, look, modules, restore

LONGEST_SECONDS = 40
# How the runs that were under way end: words of their last event, by their input.
ENDS = {
    "queued": ["reporter: reported queued"],
    "asked": ["reporter: reported asked"],
    "asked with a file": ["reporter: reported asked with a file"],
    "asked below a leader": ["asks: reporter: reported asked below a leader"],
    "asked again": ["reporter: reported asked again"],
    "three calls": ["a: reported three calls", "b: reported three calls", "Not this one"],
    "approved": ["reporter: reported approved", "Looks good"],
    "edited": ["reporter: reported as the operator put it"],
    "rejected": ["Not today"],
    "skipped": ["reporter: "],
    "answered": ["reporter: done by hand"],
    "timed out": ["reporter: "],
    "deleted": ["doomed: "],
    "begun": ["Not this one"],
    "begun and idempotent": ["reporter: reported begun and idempotent"],
}
ENDED = STATES.keys() - ENDS.keys()
# What the tools do after the upgrade, and how often.
REPORTS = Counter(
    {
        ("reporter", "queued"): 1,
        ("reporter", "asked"): 1,
        ("reporter", "asked with a file"): 1,
        ("reporter", "asked below a leader"): 1,
        ("reporter", "asked again"): 1,
        ("b", "three calls"): 1,
        ("reporter", "approved"): 1,
        ("reporter", "as the operator put it"): 1,
        ("reporter", "begun and idempotent"): 1,
    }
)
# Run, tool and round of the requests that are new: of a run that had not begun, and of the call whose outcome nobody
# knows, which the tree of before would have asked about again as well: it is rejected, so that it shows if it runs.
NEW = {("queued", "reporter", 1), ("begun", "reporter", 2)}
WORDS = {"succeeded": "success", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True)
class Upgrade:
    """A server on the database of before, all of whose runs have ended, or have had the time to."""

    server: Live
    before: Snapshot
    # When all that is asked was asked, and some of it was decided.
    meanwhile: Snapshot
    after: Snapshot
    # What the server listed as pending at first, by id.
    pending: dict[str, Row]
    reports: Counter[tuple[str, str]]

    def run(self, text: str) -> Row:
        """The run with this input, over REST."""
        run = self.before.runs[text]
        answer = self.server.client.get(f"/agents/{run['agent_id']}/runs/{run['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.fixture(scope="module")
def upgrade() -> Iterator[Upgrade]:
    before: list[Snapshot] = []
    with listener.listening() as world:

        def prepare(data_dir: Path) -> None:
            before.append(restore(data_dir, world.url))

        with live.running(prepare=prepare, HITL_HOLD_SECONDS="0", AIP_LEASE_SECONDS="6") as server:
            yield decide_all(server, before[0], world)


def decide_all(server: Live, before: Snapshot, world: listener.Listener) -> Upgrade:
    """Decide what waits, under the seals that were shown before the upgrade, and then what may be asked since.

    It waits a bounded time for all that; the tests say what did not come.
    """
    pending = {request["request_id"]: request for request in server.pending()}
    for key, request in before.requests.items():
        if request["status"] == "pending":
            decide(server, key, request["seal"], rejected=request["input"] == "three calls")
    inputs = {run["id"]: text for text, run in before.runs.items()}

    def asked_since() -> list[Row]:
        return [r for r in server.pending() if (inputs[r["run_id"]], r["tool"], r["round"]) in NEW]

    with suppress(AssertionError):
        eventually(lambda: len(asked_since()) == len(NEW), LONGEST_SECONDS)
    meanwhile = look(server.data_dir)
    for new in asked_since():
        decide(server, new["request_id"], new["seal"], rejected=inputs[new["run_id"]] == "begun")
    living = "SELECT input FROM agents_run WHERE completed_at IS NULL"
    with suppress(AssertionError):
        eventually(lambda: not server.rows(living), LONGEST_SECONDS)
    reports = Counter((report["tool"], report["text"].splitlines()[0]) for report in world.heard)
    return Upgrade(server, before, meanwhile, look(server.data_dir), pending, reports)


def decide(server: Live, request_id: str, seal: str, *, rejected: bool = False) -> None:
    decision = {"decision": "rejected", "operator_input": "Not this one"} if rejected else {"decision": "approved"}
    body = {"request_id": request_id, "seal": seal} | decision
    answer = server.client.post("/agents/hitl/decision", json=body)
    assert answer.status_code == 200, answer.text


def test_each_call_that_was_approved_runs_once_and_no_other_runs(upgrade: Upgrade) -> None:
    assert upgrade.reports == REPORTS


def test_nothing_is_asked_again_for_the_upgrades_sake(upgrade: Upgrade) -> None:
    new = [request for key, request in upgrade.after.requests.items() if key not in upgrade.before.requests]
    assert sorted((request["input"], request["tool_name"], request["round"]) for request in new) == sorted(NEW)


def test_what_waited_is_shown_as_before(upgrade: Upgrade) -> None:
    shown = ("tool", "arguments", "round", "seal")
    for key, request in upgrade.before.requests.items():
        assert (key in upgrade.pending) == (request["status"] == "pending")
        if key in upgrade.pending:
            before = (request["tool_name"], request["arguments"], request["round"], request["seal"][:8])
            assert tuple(upgrade.pending[key][name] for name in shown) == before


def test_seals_and_decisions_stay_as_they_were(upgrade: Upgrade) -> None:
    for key, request in upgrade.before.requests.items():
        after = upgrade.after.requests[key]
        assert after["seal"] == request["seal"]
        if request["status"] != "pending":
            assert after | {"execution": request["execution"]} == request


@pytest.mark.parametrize("text", ENDS)
def test_a_run_that_was_under_way_ends(upgrade: Upgrade, text: str) -> None:
    run = upgrade.run(text)
    assert run["status"] == "success"
    assert run["output"][-1]["is_final"]
    for words in ENDS[text]:
        assert words in run["output"][-1]["content"]


@pytest.mark.parametrize("text", sorted(ENDED))
def test_a_run_that_had_ended_stays_readable(upgrade: Upgrade, text: str) -> None:
    before, run = upgrade.before.runs[text], upgrade.run(text)
    assert run["status"] == WORDS[before["status"]]
    stream = upgrade.server.join(before["agent_id"], before["id"])
    assert stream.finish() == run["output"][-1]
    assert stream.done
    assert len(stream.events) == len(run["output"]) == before["events"]


def test_nothing_is_left_of_what_runs_kept_while_they_were_under_way(upgrade: Upgrade) -> None:
    assert upgrade.after.checkpoints == 0


def test_whoever_had_a_permission_has_it_still(upgrade: Upgrade) -> None:
    assert upgrade.before.permissions <= upgrade.after.permissions


def test_the_operator_of_before_logs_in_and_the_pages_open(upgrade: Upgrade) -> None:
    with httpx.Client(base_url=upgrade.server.url, timeout=30) as client:
        client.get("/admin/login/")
        form = {"username": "operator", "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        logged_in = client.post("/admin/login/", data=form, headers={"Referer": upgrade.server.url})
        assert logged_in.status_code == 302
        history, runs = "/admin/hitl/approvalrequest/", "/admin/agents/run/"
        pages = [history, f"{history}export/", runs, "/admin/agents/agent/", "/admin/agents/tool/"]
        pages += [f"{history}{key}/change/" for key in upgrade.before.requests]
        pages += [f"{runs}{upgrade.before.runs[text]['id']}/change/" for text in ("asked with a file", "cancelled")]
        assert {page: status for page in pages if (status := client.get(page).status_code) != 200} == {}


def test_nothing_that_is_stored_names_a_module_of_ours(upgrade: Upgrade) -> None:
    for snapshot in (upgrade.before, upgrade.meanwhile):
        assert snapshot.checkpoints
        assert snapshot.modules == []


def test_a_module_of_ours_in_a_checkpoint_would_be_found() -> None:
    _, blob = JsonPlusSerializer().dumps_typed({"messages": [a_call()]})
    assert modules({"blob": blob}) == ["blob: hitl.call"]


def test_a_message_that_the_queue_carries_is_still_a_message_for_our_task() -> None:
    message: Any = json.loads(MESSAGE.read_text())
    assert message["properties"]["delivery_info"]["routing_key"] == app.conf.task_default_queue
    app.loader.import_default_modules()
    task = app.tasks[message["headers"]["task"]]
    arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
    inspect.signature(task.run).bind(*arguments, **keywords)

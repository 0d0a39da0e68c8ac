"""Each thing that the doctor names: made by hand, found, repaired, and found no more."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from agents.models import Agent, Heartbeat, Run, RunStatus
from agents.runs import doctor, heartbeats, requeue
from agents.runs.broker import queued_run_ids, set_mark
from aip.celery import app
from hitl import approvals, executions
from hitl.models import ApprovalRequest, Execution, Source, Status
from tests.hitl.calls import open_one
from tests.live import CHECKOUT, Live

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]
BEFORE = Now() - timedelta(minutes=1)


@pytest.fixture(autouse=True)
def alive(transactional_db: None) -> None:
    """A server at which nothing is wrong."""
    for kind in ("worker", "sweep"):
        heartbeats.beat(kind)
    wipe()
    set_mark()


def wipe() -> None:
    with app.connection_for_write() as broker:
        broker.default_channel.client.flushall()


def a_run(status: RunStatus, **fields: Any) -> Run:
    agent = Agent.objects.create(name="agent")
    fields = {"input": "go", "spec": {"agent_name": "agent"}, "updated_at": BEFORE} | fields
    return Run.objects.create(agent=agent, status=status, **fields)


def ended() -> Run:
    return a_run(RunStatus.SUCCEEDED, completed_at=Now())


def decided(run: Run, by: User) -> ApprovalRequest:
    request = open_one(run_id=run.pk)
    approvals.decide(request.pk, decision=Status.APPROVED, by=by, source=Source.API)
    return request


def queue() -> list[str]:
    return sorted(queued_run_ids())


def held_by_the_dead(alice: User) -> Callable[[], bool]:
    run = a_run(RunStatus.RUNNING, holder="a dead one")
    return lambda: (Run.objects.get(pk=run.pk).status, queue()) == (RunStatus.QUEUED, [str(run.pk)])


def lost_by_the_queue(alice: User) -> Callable[[], bool]:
    # The sweep has given up on it for an hour; the doctor looks into the queue itself.
    run = a_run(RunStatus.QUEUED, requeue_at=Now() + timedelta(hours=1), requeues=9)
    return lambda: queue() == [str(run.pk)]


def never_resumed(alice: User) -> Callable[[], bool]:
    run = a_run(RunStatus.WAITING)
    decided(run, alice)
    ApprovalRequest.objects.update(created_at=BEFORE, closed_at=BEFORE)
    wipe()
    return lambda: queue() == [str(run.pk)]


def waits_without_a_run(alice: User) -> Callable[[], bool]:
    requests = [open_one(), open_one(run_id=ended().pk)]
    return lambda: {ApprovalRequest.objects.get(pk=r.pk).status for r in requests} == {Status.CANCELLED}


def a_run_without_waits(alice: User) -> Callable[[], bool]:
    run = a_run(RunStatus.WAITING)
    return lambda: (Run.objects.get(pk=run.pk).status, queue()) == (RunStatus.QUEUED, [str(run.pk)])


def running_and_dead(alice: User) -> Callable[[], bool]:
    request = decided(ended(), alice)
    assert executions.claim_execution(request.pk)
    return lambda: ApprovalRequest.objects.get(pk=request.pk).execution == Execution.UNKNOWN


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (held_by_the_dead, "Runs are held by workers that are gone, 1: "),
        (lost_by_the_queue, "Runs wait for a worker, and the queue has lost them, 1: "),
        (never_resumed, "Runs whose calls were decided were never resumed, 1: "),
        (waits_without_a_run, "Requests wait for runs that have ended or are gone, 2: "),
        (a_run_without_waits, "Runs are parked and wait for no decision, 1: "),
        (running_and_dead, "Calls of runs that have ended count as running, 1: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_finds_and_mends(
    make: Callable[[User], Callable[[], bool]], says: str, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    is_mended = make(alice)
    (finding,) = doctor.examine()
    assert finding.problem.startswith(says)
    with pytest.raises(CommandError) as without:
        call_command("doctor")
    assert without.value.returncode == 1
    assert "To repair: " in capsys.readouterr().out
    assert not is_mended()
    call_command("doctor", repair=True)
    assert is_mended()
    assert list(doctor.examine()) == []
    call_command("doctor")
    assert "Everything fits together." in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["worker", "sweep"])
def test_it_says_which_process_is_not_alive_and_how_to_start_it(kind: str) -> None:
    Heartbeat.objects.filter(kind=kind).update(beat_at=BEFORE)
    (finding,) = doctor.examine()
    assert (finding.problem, finding.fix) == (f"No {kind} is alive", None)
    assert finding.remedy.startswith("start one: ")
    with pytest.raises(CommandError):
        call_command("doctor", repair=True)
    heartbeats.beat(kind)
    assert list(doctor.examine()) == []


def test_it_applies_migrations_that_are_missing() -> None:
    call_command("migrate", "hitl", "0007", verbosity=0)
    try:
        (finding,) = doctor.examine()
        assert finding.problem.startswith("Migrations are not applied, 1: hitl.0008_")
        call_command("doctor", repair=True)
        assert list(doctor.examine()) == []
    finally:
        call_command("migrate", verbosity=0)


def test_it_names_a_setting_that_is_wrong(settings: Any) -> None:
    right, settings.OPENAI_BASE_URL = settings.OPENAI_BASE_URL, "nowhere"
    (finding,) = doctor.examine()
    assert finding.problem == "A setting is wrong: 'nowhere' is not an address of a model server"
    assert finding.remedy.startswith("OPENAI_BASE_URL")
    settings.OPENAI_BASE_URL = right
    assert list(doctor.examine()) == []


def test_it_says_that_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as away:
        away.setitem(app.conf, "broker_write_url", "redis+socket:///tmp/there-is-no-such-socket")
        (finding,) = doctor.examine()
    assert finding.problem.startswith("Redis cannot be reached")
    assert list(doctor.examine()) == []


def test_what_the_server_is_about_to_do_is_not_wrong(alice: User) -> None:
    """Queued just now, decided just now, begun and held, asked and waiting."""
    a_run(RunStatus.QUEUED, updated_at=Now())
    decided(a_run(RunStatus.WAITING), alice)
    held = a_run(RunStatus.RUNNING, holder=heartbeats.name())
    executions.claim_execution(decided(held, alice).pk)
    open_one(run_id=a_run(RunStatus.WAITING).pk)
    assert list(doctor.examine()) == []


def test_a_run_with_something_to_wait_for_is_not_taken_from_its_place(alice: User) -> None:
    run = a_run(RunStatus.WAITING)
    open_one(run_id=run.pk)
    requeue.unpark(run.pk)
    assert Run.objects.get(pk=run.pk).status == RunStatus.WAITING


def test_it_is_run_against_a_living_server_and_knows_a_wrong_clock(server: Live, tmp_path: Path) -> None:
    def examined(**env: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "manage.py", "doctor"]
        ours = {"AIP_DATA_DIR": str(server.data_dir), "PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "aip.settings"}
        return subprocess.run(
            command, cwd=CHECKOUT, env=ours | env, capture_output=True, text=True, timeout=60, check=False
        )

    (tmp_path / "sitecustomize.py").write_text("import time\nright = time.time\ntime.time = lambda: right() - 90\n")
    wrong = examined(PYTHONPATH=str(tmp_path))
    assert (wrong.returncode, "clock is 90.0 s behind" in wrong.stdout) == (1, True), wrong
    assert "clock" not in examined().stdout


def test_it_says_that_postgresql_is_away(settings: Any) -> None:
    command = [sys.executable, "manage.py", "doctor"]
    env = {"AIP_DATA_DIR": str(configured.DATA_DIR), "DATABASE_URL": "postgresql://aip@127.0.0.1:1/aip"}
    said = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1
    assert "PostgreSQL cannot be reached" in said.stdout
    connection.close()

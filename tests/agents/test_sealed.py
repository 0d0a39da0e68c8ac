"""What was shown is what runs: whatever is changed between the approval and the call."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agents.models import Run, RunEvent, RunStatus, Tool, ToolVersion
from hitl.models import ApprovalRequest, Execution
from tests.agents.runs import REPORTER, carried, decide, gated_agent, requests, start
from tests.listener import Listener

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


@pytest.fixture
def approved(world: Listener, alice: User, settings: Any) -> Run:
    """A parked run whose one call was approved and has not been resumed."""
    settings.HITL_HOLD_SECONDS = 0
    run = start(gated_agent(world))
    assert carried(run).status == RunStatus.WAITING
    decide(requests(run)["reporter"], "approved", alice)
    return run


def alter_checkpoint(run: Run, change: Callable[[Any], None]) -> None:
    """By hand: the calls that the step has still to make."""
    serde = JsonPlusSerializer()
    with connection.cursor() as cursor:
        where = "thread_id = %s AND channel = '__pregel_tasks' AND type <> 'empty'"
        cursor.execute(f"SELECT version, type, blob FROM checkpoint_blobs WHERE {where}", [str(run.pk)])
        rows = cursor.fetchall()
        altered = 0
        for version, kind, blob in rows:
            sends = serde.loads_typed((kind, bytes(blob)))
            for send in sends:
                for call in send.arg:
                    change(call)
                    altered += 1
            kind, blob = serde.dumps_typed(sends)
            cursor.execute(
                f"UPDATE checkpoint_blobs SET type = %s, blob = %s WHERE {where} AND version = %s",
                [kind, blob, str(run.pk), version],
            )
    assert altered == 1


def test_arguments_that_are_altered_in_the_checkpoint_do_not_run(approved: Run, world: Listener, alice: User) -> None:
    alter_checkpoint(approved, lambda call: call["args"].update(text="pay mallory"))
    assert carried(approved).status == RunStatus.WAITING
    assert world.count("pay mallory") == world.count(approved.input) == 0
    first, second = ApprovalRequest.objects.filter(run_id=approved.pk).order_by("round")
    assert (first.execution, second.status, second.round) == (Execution.NONE, "pending", 2)
    assert second.arguments == {"text": "pay mallory"}
    assert f'the argument text was "{approved.input}", is "pay mallory"' in second.reason
    assert first.seal != second.seal
    # Approved anew, it is this that runs.
    decide(second, "approved", alice)
    assert carried(approved).status == RunStatus.SUCCEEDED
    assert (world.count("pay mallory"), world.count(approved.input)) == (1, 0)


def test_a_tool_that_is_uploaded_again_runs_in_the_approved_version(approved: Run, world: Listener) -> None:
    old = ToolVersion.objects.get(tool_name="reporter")
    new = ToolVersion.objects.create(
        digest="1" * 64, file_name="t.py", source=REPORTER.decode().replace("text}", "text}!"), class_name="Reporter",
        tool_name="reporter", description="Newer.", args_schema=old.args_schema,
    )  # fmt: skip
    Tool.objects.filter(is_native=False).update(current=new)
    assert carried(approved).status == RunStatus.SUCCEEDED
    assert world.count(approved.input) == 1
    request = requests(approved)["reporter"]
    assert (request.tool_version, request.output) == (old.digest, f"reported {approved.input}")


def test_a_tool_that_is_deleted_meanwhile_does_not_run_and_the_model_is_told(approved: Run, world: Listener) -> None:
    Tool.objects.update(deleted_at=Now())
    assert carried(approved).status == RunStatus.SUCCEEDED
    assert world.count(approved.input) == 0
    (final,) = RunEvent.objects.filter(run=approved, key="end").values_list("payload__content", flat=True)
    assert "This tool was deleted" in final
    request = requests(approved)["reporter"]
    assert (request.status, request.execution) == ("approved", Execution.NONE)


def test_a_source_that_is_altered_by_hand_does_not_run(approved: Run, world: Listener) -> None:
    ToolVersion.objects.update(source=REPORTER.decode().replace("text}", "text} and more"))
    assert carried(approved).status == RunStatus.WAITING
    assert world.count(approved.input) == 0
    assert "the version of the tool was" in requests(approved)["reporter"].reason

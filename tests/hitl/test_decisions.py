"""What a decision carries: other arguments, an answer, the seal that was on the screen; and more time."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from aip.launcher.private_server import eventually, has_in_command_line
from hitl import approvals
from hitl.argument_schema import MAX_CHARACTERS
from hitl.call import edits
from hitl.decision_rules import MAX_ANSWER
from hitl.exceptions import AlreadyClosed, InvalidDecision, StaleSeal, UnknownRequest
from hitl.models import ApprovalRequest, Decision, Extension, Source, Status
from hitl.schema_process import NON_FIELD
from tests.conftest import in_threads
from tests.hitl.calls import a_call, open_one
from tests.test_races import closing

pytestmark = pytest.mark.django_db
ASKED = {"to": "jane.doe@example.com", "text": "Welcome"}
EDITED = ASKED | {"text": "Welcome, Jane"}


def decide(request: ApprovalRequest, word: Status, by: User, **more: Any) -> Decision:
    return approvals.decide(request.pk, decision=word, by=by, source=Source.CONSOLE, **more)


def read(request: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.select_related("decision").get(pk=request.pk)


def test_edited_arguments_are_kept_beside_what_was_asked_and_sealed(alice: User) -> None:
    request = open_one()
    made = decide(request, Status.APPROVED, alice, arguments=EDITED)
    row = read(request)
    assert (row.arguments, row.decision.arguments, row.to_run) == (ASKED, EDITED, EDITED)
    sealed = {name: getattr(row, name) for name in ("tool_id", "agent_id", "run_id", "checkpoint_ns")}
    assert made.seal == row.decision.seal == row.seal_to_run == a_call(arguments=EDITED, **sealed).seal != row.seal
    assert edits(row) == 'the argument text was "Welcome", is "Welcome, Jane"'


def test_an_edit_to_what_was_asked_is_a_plain_approval(alice: User) -> None:
    request = open_one()
    made = decide(request, Status.APPROVED, alice, arguments={"text": "Welcome", "to": "jane.doe@example.com"})
    assert (made.arguments, made.seal) == (None, request.seal)
    assert edits(read(request)) == ""


@pytest.mark.parametrize(
    "value",
    [
        1e23,
        1.2345678901234568e17,
        -0.0,
        0.1,
        1e-7,
        5e-324,
        -1.7976931348623157e308,
        2**70,
        1.0,
        float("inf"),
        "a\0\ud800",
    ],
    ids=repr,
)
def test_the_seal_of_edited_arguments_is_the_same_once_they_are_read_back(alice: User, value: Any) -> None:
    schema = {"type": "object", "properties": {"x": {}}}
    request = open_one(args_schema=schema, arguments={"x": None})
    decide(request, Status.APPROVED, alice, arguments={"x": [value]})
    row = read(request)
    sealed = {name: getattr(row, name) for name in ("tool_id", "agent_id", "run_id", "checkpoint_ns")}
    assert a_call(arguments=row.to_run, **sealed).seal == row.decision.seal


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"to": "jane@example.com"}, "text", "is required"),
        (EDITED | {"copies": 4}, "copies", "must be at most 3"),
        (EDITED | {"copies": "2"}, "copies", '"2" is not of the type integer'),
        (EDITED | {"urgent": "yes"}, "urgent", "type boolean. or "),
        (EDITED | {"to": "jane"}, "to", "does not match the pattern @"),
        (EDITED | {"text": "x" * 201}, "text", "at most 200"),
        (EDITED | {"bcc": "mallory@example.com"}, "bcc", "no argument of this name"),
        (EDITED | {"text": "x" * MAX_CHARACTERS}, NON_FIELD, "longer than"),
        ({}, "to", "is required"),
    ],
)
def test_arguments_that_the_tool_does_not_take_say_which_and_why_and_the_request_waits_on(
    alice: User, arguments: dict[str, Any], field: str, words: str
) -> None:
    request = open_one()
    with pytest.raises(InvalidDecision) as refused:
        decide(request, Status.APPROVED, alice, arguments=arguments)
    assert words in " ".join(refused.value.errors["arguments"][field])
    assert request in approvals.pending()
    assert not Decision.objects.exists()


def test_what_the_model_made_up_may_stay_or_go_but_not_change(alice: User) -> None:
    asked = ASKED | {"mood": "cheerful"}
    decide(open_one(arguments=asked), Status.APPROVED, alice, arguments=EDITED | {"mood": "cheerful"})
    decide(open_one(arguments=asked), Status.APPROVED, alice, arguments=EDITED)
    with pytest.raises(InvalidDecision):
        decide(open_one(arguments=asked), Status.APPROVED, alice, arguments=EDITED | {"mood": "grim"})


def test_an_answer_is_kept_and_the_call_counts_as_answered(alice: User, bob: User) -> None:
    request = open_one()
    decide(request, Status.SKIPPED, alice, answer="She has\0 started already.", note="I called her")
    row = read(request)
    assert (row.status, row.outcome, row.decision.seal) == ("skipped", "answered", "")
    assert row.decision.answer == "She has\ufffd started already."
    with pytest.raises(AlreadyClosed, match="already answered by alice"):
        decide(request, Status.APPROVED, bob)


@pytest.mark.parametrize(
    ("word", "extras", "field"),
    [
        (Status.APPROVED, {"answer": "It is done."}, "answer"),
        (Status.REJECTED, {"answer": "It is done."}, "answer"),
        (Status.REJECTED, {"arguments": EDITED}, "arguments"),
        (Status.SKIPPED, {"arguments": EDITED}, "arguments"),
        (Status.SKIPPED, {"arguments": {}}, "arguments"),
        (Status.SKIPPED, {"answer": " \n"}, "answer"),
        (Status.SKIPPED, {"answer": "x" * (MAX_ANSWER + 1)}, "answer"),
    ],
)
def test_what_does_not_go_together_decides_nothing(
    alice: User, word: Status, extras: dict[str, Any], field: str
) -> None:
    request = open_one()
    with pytest.raises(InvalidDecision) as refused:
        decide(request, word, alice, **extras)
    assert list(refused.value.errors) == [field]
    assert request in approvals.pending()


@pytest.mark.parametrize("word", approvals.DECIDABLE)
def test_a_decision_about_another_call_than_the_pending_one_is_refused(alice: User, word: Status) -> None:
    request, other = open_one(), open_one()
    for stale in (other.seal, other.seal[:8], request.seal[:7], request.seal + "0"):
        with pytest.raises(StaleSeal, match="not the call that you saw"):
            decide(request, word, alice, seal=stale)
    assert request in approvals.pending()
    decide(request, word, alice, seal=request.seal[:8].upper())


@pytest.mark.parametrize(
    "wrong",
    [{"answer": "from nowhere"}, {"decision": "rejected", "seal": "", "arguments": EDITED}],
    ids=str,
)
def test_the_database_refuses_a_decision_that_cannot_be(alice: User, wrong: dict[str, Any]) -> None:
    made = decide(open_one(), Status.APPROVED, alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.filter(pk=made.pk).update(**wrong)
    answered = decide(open_one(), Status.SKIPPED, alice, answer="It is done.")
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.filter(pk=answered.pk).update(answer="")


@pytest.mark.django_db(transaction=True)
def test_of_many_different_edits_one_wins_and_is_the_one_that_is_kept(alice: User) -> None:
    request = open_one()

    def edit(i: int) -> str | None:
        try:
            return decide(request, Status.APPROVED, alice, arguments=ASKED | {"text": f"by {i}"}).seal
        except AlreadyClosed:
            return None

    seals = in_threads(8, closing(edit))
    (winner,) = [i for i, seal in enumerate(seals) if seal]
    row = read(request)
    assert (row.to_run["text"], row.seal_to_run) == (f"by {winner}", seals[winner])


@pytest.mark.django_db(transaction=True)
def test_a_long_check_of_arguments_keeps_nobody_from_the_request(alice: User, bob: User) -> None:
    slow = {"type": "object", "properties": {"text": {"pattern": "^(a|aa)+$"}}}
    request = open_one(args_schema=slow, arguments={"text": "aaa"})

    def edit(_: int) -> None:
        with pytest.raises(InvalidDecision, match="takes too long"):
            decide(request, Status.APPROVED, alice, arguments={"text": "a" * 200 + "!"})

    with ThreadPoolExecutor(1) as executor:
        edited = executor.submit(closing(edit), 0)
        check = eventually(checker)
        decide(request, Status.REJECTED, bob)
        assert check.is_running()  # one that has ended is no process any more: it is waited for
        edited.result(30)


def checker() -> psutil.Process | None:
    return next(
        (child for child in psutil.Process().children() if has_in_command_line(child, "hitl.schema_process")), None
    )


# More time


def extend(request: ApprovalRequest, by: User, seconds: int = 30) -> ApprovalRequest:
    return approvals.extend(request.pk, seconds=seconds, by=by, source=Source.API)


def test_an_extension_moves_the_deadline_and_records_who_gave_how_much(alice: User) -> None:
    request = open_one(timeout_seconds=60)
    extend(request, alice, 30)
    later = read_plain(request)
    assert (later.timeout_seconds, later.timeout_at - request.timeout_at) == (90, timedelta(seconds=30))
    assert later.timeout_at == later.created_at + timedelta(seconds=later.timeout_seconds)
    kept = Extension.objects.get()
    assert (kept.extended_by_name, kept.seconds, kept.source, kept.timeout_at) == ("alice", 30, "api", later.timeout_at)


def read_plain(request: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=request.pk)


def test_what_is_closed_or_unknown_is_not_extended(alice: User) -> None:
    request = open_one()
    decide(request, Status.REJECTED, alice)
    with pytest.raises(AlreadyClosed):
        extend(request, alice)
    with pytest.raises(UnknownRequest):
        approvals.extend(uuid.uuid4(), seconds=30, by=alice, source=Source.API)
    overdue = open_one()
    ApprovalRequest.objects.filter(pk=overdue.pk).update(timeout_at=Now())
    with pytest.raises(AlreadyClosed, match="ran out of time"):
        extend(overdue, alice)
    assert not Extension.objects.exists()


@pytest.mark.parametrize("seconds", [0, -5, settings.HITL_MAX_TIMEOUT_SECONDS - 59])
def test_an_extension_has_bounds_and_says_them(alice: User, seconds: int) -> None:
    request = open_one(timeout_seconds=60)
    with pytest.raises(InvalidDecision):
        extend(request, alice, seconds)
    assert read_plain(request).timeout_seconds == 60
    extend(request, alice, settings.HITL_MAX_TIMEOUT_SECONDS - 60)


@pytest.mark.django_db(transaction=True)
def test_extensions_at_once_add_up_and_each_is_recorded(alice: User) -> None:
    request = open_one(timeout_seconds=60)
    in_threads(8, closing(lambda _: extend(request, alice, 5)))
    assert read_plain(request).timeout_seconds == 100
    assert Extension.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_an_extension_and_the_deadline_cannot_both_win(alice: User) -> None:
    for _ in range(10):
        request = open_one(timeout_seconds=0.05)

        def one(i: int, request: ApprovalRequest = request) -> bool:
            if i % 2:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(0.05)")
                return approvals.time_out(request.pk)
            try:
                return bool(extend(request, alice))
            except AlreadyClosed:
                return False

        in_threads(4, closing(one))
        row = read_plain(request)
        extended = Extension.objects.filter(request=request).exists()
        assert (row.status == Status.PENDING) == extended

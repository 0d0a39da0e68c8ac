"""What an operator puts in place of a call is what runs, or is what the model hears, whatever happens meanwhile."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from agents.models import Run, RunEvent, RunStatus, ToolVersion
from agents.runs import lifecycle
from hitl import approvals
from hitl.exceptions import AlreadyClosed
from hitl.models import ApprovalRequest, Decision, Execution, Source, Status
from tests.agents.runs import await_requests, carried, carry, decide, gated_agent, in_thread, requests, start
from tests.agents.test_gate import SOURCE, Call, open_of
from tests.conftest import in_threads
from tests.listener import Listener
from tests.live import eventually
from tests.test_races import closing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("servers")]


def approve(request: ApprovalRequest, by: User, arguments: dict[str, Any] | None = None) -> Decision:
    return approvals.decide(request.pk, decision=Status.APPROVED, by=by, source=Source.CONSOLE, arguments=arguments)


def result_of(run: Run) -> dict[str, Any]:
    return RunEvent.objects.get(run=run, key__startswith="result:").payload


def final_of(run: Run) -> str:
    """What the rehearsal model answers: what its tools said to it."""
    return str(RunEvent.objects.get(run=run, key="end").payload["content"])


@pytest.mark.parametrize("hold", [0, 20], ids=["parked", "held"])
def test_the_edited_arguments_run_and_the_model_and_the_stream_are_told(
    world: Listener, alice: User, settings: Any, hold: int
) -> None:
    settings.HITL_HOLD_SECONDS = hold
    run = start(gated_agent(world))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    if not hold:
        thread.join(20)
    edited = f"{run.input}, politely"
    made = approve(request, alice, {"text": edited})
    if not hold:
        thread = carry(run)
    thread.join(20)
    assert (world.count(run.input), world.count(edited)) == (0, 1)
    told = f'The operator changed the arguments of this call before it ran: the argument text was "{run.input}", is '
    assert f'{told}"{edited}".' in final_of(run)
    metadata = result_of(run)["metadata"]
    assert metadata["tool_info"]["args"] == {"text": edited}
    assert metadata["hitl"]["edited"] is True
    assert metadata["hitl"]["seal"] == made.seal[:8] != request.seal[:8]


def test_an_answer_is_the_calls_result_and_the_tool_does_not_run(world: Listener, alice: User, settings: Any) -> None:
    settings.HITL_HOLD_SECONDS = 0
    run = start(gated_agent(world))
    carried(run)
    request = requests(run)["reporter"]
    approvals.decide(
        request.pk, decision=Status.SKIPPED, by=alice, source=Source.API, answer="Reported by hand.", note="Ask me"
    )
    assert carried(run).status == RunStatus.SUCCEEDED
    assert world.count(run.input) == 0
    event = result_of(run)
    assert (event["content"], event["metadata"]["status"]) == (
        "Reported by hand.\n\nThe operator's words: Ask me",
        "finished",
    )
    assert event["metadata"]["hitl"] | {"answered": True, "decision": "skipped"} == event["metadata"]["hitl"]
    assert "Reported by hand." in final_of(run)


def test_the_request_keeps_what_its_operator_needs(world: Listener, settings: Any) -> None:
    settings.HITL_HOLD_SECONDS = 0
    run = start(gated_agent(world, destructive=True), requester="carol")
    carried(run)
    request = requests(run)["reporter"]
    assert (request.destructive, request.requester) == (True, "carol")
    assert request.args_schema["properties"].keys() == {"text"}
    assert request.context["tool_description"] == "Reports a text."
    assert request.context["agent_version"] == "1.0"
    assert request.context["instruction"] == ""
    assert request.context["requester"] == "carol"
    assert request.context["run_ends_at"] == ""


def test_the_page_of_a_request_counts_to_its_runs_limit_where_that_comes_first(
    world: Listener, settings: Any, admin_client: Client
) -> None:
    settings.HITL_HOLD_SECONDS = 0
    run = carried(start(gated_agent(world, agent_config={"timeout_seconds": 40})))
    request = requests(run)["reporter"]
    assert run.deadline_at
    assert request.timeout_seconds > 40
    page = admin_client.get(f"/admin/inbox/{request.pk}/").text
    (left,) = re.findall(r'data-seconds-left="([\d.]+)" data-deadline', page)
    assert 0 < float(left) <= 40
    assert "At zero its run reaches its own limit and fails" in page
    assert f"it fails at {run.deadline_at:%Y-%m-%d %H:%M:%S} UTC" in page
    assert "its run too" not in page


def test_what_a_request_does_not_keep_of_the_conversation_is_marked(
    world: Listener, settings: Any, admin_client: Client
) -> None:
    settings.HITL_HOLD_SECONDS = 0
    history = [{"role": "user", "content": f"message {number}"} for number in range(50)]
    history[-1]["content"] = "word " * 5000
    agent = gated_agent(world)
    run = carried(
        lifecycle.start(str(agent.pk), input="please act", chat_history=history, runtime_config={}, requester="")
    )
    request = requests(run)["reporter"]
    first, *kept = request.context["conversation"]
    assert first == {"role": "left out", "content": "The 12 messages before these were not kept."}
    assert [message["content"] for message in kept[:2]] == ["message 12", "message 13"]
    assert len(kept) == 40
    page = admin_client.get(f"/admin/inbox/{request.pk}/").text
    assert page.count("[Cut here: 25,000 characters, of which the first were kept.]") == 1
    assert "The 12 messages before these were not kept." in page


class Editable(Call):
    """A call whose tool says which arguments it takes."""

    def __init__(self, world: Listener, **settings: Any) -> None:
        super().__init__(world, **settings)
        self.edited = {"to": "bob"}

    def approved(self, by: User) -> ApprovalRequest:
        request = open_of(self)
        ApprovalRequest.objects.filter(pk=request.pk).update(args_schema={"properties": {"to": {"type": "string"}}})
        approve(request, by, self.edited)
        return self.request


def when_asked_again(call: Call, decide: Callable[[ApprovalRequest], object]) -> threading.Thread:
    def wait() -> None:
        eventually(lambda: len(call.rounds()) == 2)
        decide(call.request)

    return in_thread(wait)


@pytest.fixture
def call(world: Listener) -> Editable:
    return Editable(world)


def test_entered_again_it_gives_the_same_result_and_the_same_words(call: Editable, alice: User) -> None:
    call.approved(alice)
    first, again = call.enter(), call.enter()
    assert call.ran == [call.edited]
    assert first.text == again.text
    assert 'the argument to was "jane", is "bob"' in first.text


def test_a_worker_that_dies_between_the_decision_and_the_run_changes_nothing(call: Editable, alice: User) -> None:
    call.approved(alice)
    call.claim()  # it took the run over and did nothing more
    assert "sent" in call.enter().text
    assert call.ran == [call.edited]


def test_an_edited_call_of_unknown_outcome_is_asked_about_with_what_may_have_run(call: Editable, alice: User) -> None:
    call.approved(alice)
    call.begin_and_be_lost()
    thread = when_asked_again(call, lambda request: approve(request, alice))
    message = call.enter()
    thread.join(10)
    first, second = call.rounds()
    assert (first.execution, second.execution) == (Execution.UNKNOWN, Execution.FINISHED)
    assert (second.arguments, second.model_arguments, second.seal) == (call.edited, {"to": "jane"}, first.seal_to_run)
    assert call.ran == [call.edited]
    assert 'the argument to was "jane", is "bob"' in message.text


def test_an_idempotent_call_of_unknown_outcome_is_repeated_with_the_edited_arguments(
    world: Listener, alice: User
) -> None:
    call = Editable(world, idempotent=True)
    call.approved(alice)
    call.begin_and_be_lost()
    call.enter()
    assert call.ran == [call.edited]
    assert len(call.rounds()) == 1


def test_edited_arguments_that_are_altered_in_their_row_do_not_run(call: Editable, alice: User) -> None:
    call.approved(alice)
    Decision.objects.update(arguments={"to": "mallory"})
    thread = when_asked_again(call, lambda request: decide(request, "rejected", alice))
    assert "rejected" in call.enter().text
    thread.join(10)
    assert call.ran == []
    assert "its seal was" in call.request.reason


def test_code_that_changed_since_an_edited_approval_is_asked_about_with_the_edit(call: Editable, alice: User) -> None:
    call.approved(alice)
    ToolVersion.objects.update(source=f"{SOURCE}# otherwise\n")
    thread = when_asked_again(call, lambda request: decide(request, "rejected", alice))
    call.enter()
    thread.join(10)
    assert call.ran == []
    assert call.request.arguments == call.edited
    assert "the version of the tool was" in call.request.reason
    assert "the argument" not in call.request.reason


def test_of_two_deciders_with_different_edits_exactly_the_winners_arguments_run(
    world: Listener, alice: User, bob: User, settings: Any
) -> None:
    settings.HITL_HOLD_SECONDS = 20
    run = start(gated_agent(world))
    thread = carry(run)
    request = await_requests(run)["reporter"]

    def edit(i: int) -> bool:
        try:
            return bool(approve(request, (alice, bob)[i % 2], {"text": f"{run.input} by {i}"}))
        except AlreadyClosed:
            return False

    won = in_threads(6, closing(edit))
    thread.join(20)
    assert sum(won) == 1
    assert [world.count(f"{run.input} by {i}") for i in range(6)] == [int(each) for each in won]


def test_a_held_call_waits_on_when_its_deadline_moves(world: Listener, alice: User, settings: Any) -> None:
    settings.HITL_HOLD_SECONDS = 20
    run = start(gated_agent(world, hitl={"timeout_seconds": 1.5}))
    thread = carry(run)
    request = await_requests(run)["reporter"]
    approvals.extend(request.pk, seconds=60, by=alice, source=Source.CONSOLE)
    thread.join(2.5)
    assert thread.is_alive()
    approve(request, alice)
    thread.join(20)
    assert world.count(run.input) == 1

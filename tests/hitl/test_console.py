"""The console's pages and its POST, without a browser."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from agents.catalog import agents
from agents.models import Run, RunEvent, RunStatus
from hitl import approvals, cancellations, executions
from hitl.models import ApprovalRequest, Decision, Extension, Source, Status
from tests.hitl.calls import a_call, open_one

pytestmark = pytest.mark.django_db
SCRIPTS = (Path(__file__).resolve().parent.parent.parent / "hitl" / "static" / "hitl").glob("*.js")
HOSTILE = "<script>alert(1)</script>\u202e\u200b\x1b[31m"


def client_of(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return client_of("omar", "view_approvalrequest", "decide_approvalrequest")


@pytest.fixture
def looker() -> Client:
    return client_of("looker", "view_approvalrequest")


def decide(client: Client, request: ApprovalRequest, word: str = "approved", **fields: str) -> Any:
    return client.post(f"/admin/inbox/{request.pk}/decide/", {"decision": word, "seal": request.seal, **fields})


@pytest.mark.parametrize("word", ["approved", "rejected", "skipped"])
def test_a_decision_of_the_console_is_recorded_with_its_note_and_its_source(operator: Client, word: str) -> None:
    request = open_one()
    assert decide(operator, request, word, note="my words").headers["Location"] == "/admin/inbox/"
    made = Decision.objects.get(request=request)
    assert (made.decision, made.operator_input, made.source, made.decided_by_name) == (
        word,
        "my words",
        "console",
        "omar",
    )


def test_the_next_request_of_the_line_follows_a_decision(operator: Client) -> None:
    first, other, last = (
        open_one(timeout_seconds=60 + i, tool_name=name) for i, name in enumerate(["pay", "send", "pay"])
    )
    assert decide(operator, first).headers["Location"] == f"/admin/inbox/{other.pk}/"
    assert operator.post(
        f"/admin/inbox/{other.pk}/decide/?tool=send", {"decision": "skipped", "seal": other.seal}
    ).headers["Location"] == ("/admin/inbox/?tool=send")
    assert decide(operator, last).headers["Location"] == "/admin/inbox/"
    script = operator.post(
        f"/admin/inbox/{open_one().pk}/decide/", {"decision": "skipped"}, headers={"X-Requested-With": "fetch"}
    )
    assert script.status_code == 400


def test_a_destructive_tool_needs_a_second_press(operator: Client) -> None:
    request = open_one(destructive=True)
    answer = decide(operator, request)
    assert answer.status_code == 400
    assert "takes a second press" in answer.content.decode()
    assert not Decision.objects.exists()
    assert decide(operator, request, sure="1").status_code == 302
    assert decide(operator, open_one(destructive=True), "rejected").status_code == 302


def test_a_reason_and_own_words_are_told_together(operator: Client) -> None:
    decide(operator, open_one(), "rejected", reason="Too risky.", note="Ask Maria.")
    assert Decision.objects.get().operator_input == "Too risky. Ask Maria."


def test_what_is_told_once_is_not_used_up_by_the_script_of_an_open_page(operator: Client) -> None:
    request = open_one()
    decide(operator, request)
    for path in ("/admin/inbox/", f"/admin/inbox/{request.pk}/"):
        part = operator.get(path, headers={"X-Requested-With": "fetch"}).content.decode()
        assert str(request.pk) in part
        assert "<html" not in part
    page = operator.get("/admin/inbox/")
    assert "You approved the call of send_mail" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]


def test_a_second_decision_says_who_decided_what_and_when(operator: Client, alice: User) -> None:
    request = open_one()
    approvals.decide(request.pk, decision=Status.REJECTED, by=alice, source=Source.API)
    answer = decide(operator, request)
    assert answer.status_code == 409
    assert "already rejected by alice at 20" in answer.content.decode()
    assert Decision.objects.get().decision == "rejected"


def test_who_may_only_look_has_no_buttons_and_is_refused(looker: Client) -> None:
    request = open_one()
    for url in ("/admin/inbox/", f"/admin/inbox/{request.pk}/", f"/admin/inbox/{request.pk}/card/"):
        assert (
            'method="post"' not in looker.get(url).content.decode().split('class="aip-console"')[-1].split("</main>")[0]
        )
    answer = decide(looker, request)
    assert answer.status_code == 403
    assert "may look, but not decide" in answer.content.decode()
    assert not Decision.objects.exists()


def test_staff_without_any_permission_sees_nothing(client: Client) -> None:
    stranger = client_of("staff")
    request = open_one()
    for url in ("/admin/inbox/", f"/admin/inbox/{request.pk}/", f"/admin/inbox/{request.pk}/card/"):
        assert stranger.get(url).status_code == 403
    assert decide(stranger, request).status_code == 403
    assert stranger.get("/admin/").status_code == 200  # the theme's own first page


@pytest.mark.parametrize(
    "fields",
    [
        {"decision": "maybe"},
        {"decision": ""},
        {"decision": "timeout_skip"},
        {"decision": "approved", "note": "x" * 20_001},
        {"decision": "approved", "seal": ""},
        {"decision": "approved", "seal": "not a seal"},
        {"decision": "approved", "answer": "with an approval"},
        {"decision": "skipped", "answer": " "},
        {"decision": "rejected", "reason": "one that is not offered"},
    ],
)
def test_a_form_that_cannot_be_read_decides_nothing(operator: Client, fields: dict[str, str]) -> None:
    request = open_one()
    answer = operator.post(f"/admin/inbox/{request.pk}/decide/", {"seal": request.seal} | fields)
    assert answer.status_code == 400
    assert "Nothing was decided" in answer.content.decode()
    assert not Decision.objects.exists()


def test_a_form_without_its_token_decides_nothing() -> None:
    request = open_one()
    User.objects.create_superuser("root")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="root"))
    answer = decide(client, request)
    assert answer.status_code == 403
    assert "Nothing was changed" in answer.content.decode()
    assert not Decision.objects.exists()


def test_a_login_behind_a_proxy_that_is_not_named_says_which_setting_names_it() -> None:
    form = {"username": "x", "password": "x"}
    answer = Client(enforce_csrf_checks=True).post(
        "/admin/login/", form, headers={"Origin": "https://aip.example.com", "Host": "localhost"}
    )
    assert answer.status_code == 403
    assert "CSRF_TRUSTED_ORIGINS has to name" in answer.text
    assert "earlier session" not in answer.text


def test_an_unknown_request_is_not_found_and_a_read_of_the_form_leads_to_its_page(operator: Client) -> None:
    unknown = uuid.uuid4()
    for path in ("", "card/"):
        assert operator.get(f"/admin/inbox/{unknown}/{path}").status_code == 404
    assert operator.post(f"/admin/inbox/{unknown}/decide/", {"decision": "approved"}).status_code == 404
    request = open_one()
    assert operator.get(f"/admin/inbox/{request.pk}/decide/").headers["Location"] == f"/admin/inbox/{request.pk}/"


def test_deep_and_hostile_arguments_are_shown_harmlessly(operator: Client) -> None:
    deep: Any = HOSTILE
    for _ in range(40):
        deep = {HOSTILE: [deep]}
    request = open_one(arguments={"deep": deep}, agent_name=HOSTILE, tool_name=HOSTILE, tool_call_id=HOSTILE)
    for url in ("/admin/inbox/", f"/admin/inbox/{request.pk}/", f"/admin/inbox/{request.pk}/card/"):
        text = operator.get(url).content.decode()
        assert "<script>alert" not in text
        assert not set("\u202e\u200b\x1b") & set(text)


def test_the_page_loads_nothing_from_other_hosts_and_the_script_stays_short(operator: Client) -> None:
    open_one()
    text = operator.get("/admin/inbox/").content.decode()
    assert re.findall(r'(?:src|href)="(?!/|\?|#)[^"]+"', text) == []
    assert sum(len(script.read_text().splitlines()) for script in SCRIPTS) < 300


def test_a_call_that_is_asked_about_again_says_why_on_the_inbox_and_on_its_page(admin_client: Client) -> None:
    request = open_one()
    ApprovalRequest.objects.filter(pk=request.pk).update(round=2, reason="An earlier attempt began <b>then</b>")
    for page in ("/admin/inbox/", f"/admin/inbox/{request.pk}/"):
        text = admin_client.get(page).text
        assert "Asked again." in text
        assert "its outcome is unknown" not in text
        assert "An earlier attempt began &lt;b&gt;then&lt;/b&gt;" in text
        assert request.seal[:8] in text


def test_a_call_of_unknown_outcome_is_not_shown_as_merely_approved(operator: Client, admin_client: Client) -> None:
    request = open_one()
    decide(operator, request)
    assert executions.claim_execution(request.pk)
    request.refresh_from_db()
    call = a_call(run_id=request.run_id, checkpoint_ns=request.checkpoint_ns)
    approvals.ask_again(request, call, "why")
    assert "The call began, and its outcome is unknown." in admin_client.get("/admin/inbox/").text


def test_of_a_request_whose_run_failed_at_its_limit_it_is_not_said_that_the_run_went_on(operator: Client) -> None:
    request = open_one()
    cancellations.end_with_runs([request.run_id], timed_out=True)
    for page in ("/admin/inbox/", f"/admin/inbox/{request.pk}/"):
        text = operator.get(page).text
        assert "Its run failed at its own limit of time" in text
        assert "the step was skipped" not in text
    late = decide(operator, request)
    assert late.status_code == 409
    assert "with its run, which failed at its own limit of time" in late.text


# What a decision carries, by plain forms

FORM = {"edited": "1", "argument.to": "bob@example.com", "argument.text": "Welcome,\r\nBob", "argument.copies": "2"}


def test_an_edit_is_approved_as_it_was_typed_and_shown_as_a_difference(operator: Client) -> None:
    request = open_one()
    page = operator.get(f"/admin/inbox/{request.pk}/?act=edit").text
    assert f'name="seal" value="{request.seal}"' in page
    assert 'name="argument.to"' in page
    decide(operator, request, seal=request.seal, **FORM)
    made = Decision.objects.get()
    assert made.arguments == {"to": "bob@example.com", "text": "Welcome,\nBob", "copies": 2}
    page = operator.get(f"/admin/inbox/{request.pk}/").text
    assert "Approved with changes by omar in the console" in page
    assert "<ins>bob@example.com</ins>" in page


def test_an_edit_that_the_tool_does_not_take_says_why_and_loses_nothing_that_was_typed(operator: Client) -> None:
    request = open_one()
    for wrong, words in [("seven", "This must be a number"), ("7", "7 must be at most 3")]:
        answer = decide(operator, request, note="my words", **FORM | {"argument.copies": wrong})
        assert answer.status_code == 400
        assert "Nothing was decided." in answer.text
        for typed in (words, f'value="{wrong}"', "bob@example.com", "Welcome,\r\nBob", "my words"):
            assert typed in answer.text
    assert request in approvals.pending()


def test_an_answer_takes_the_tools_place_and_is_shown(operator: Client) -> None:
    request = open_one()
    decide(operator, request, "skipped", answer=f"Done. {HOSTILE}")
    page = operator.get(f"/admin/inbox/{request.pk}/").text
    assert "Answered by omar in the console" in page
    assert "Done. &lt;script&gt;" in page
    assert "\u202e" not in page


def test_a_screen_that_shows_another_call_decides_nothing(operator: Client) -> None:
    request = open_one()
    answer = decide(operator, request, seal=open_one().seal)
    assert answer.status_code == 409
    assert "not the call that you saw" in answer.text
    assert decide(operator, request, answer="x").status_code == 400
    assert decide(operator, request, seal="nonsense").status_code == 400
    assert not Decision.objects.exists()


def test_more_time_is_given_from_the_console_by_those_who_may_decide(operator: Client, looker: Client) -> None:
    request = open_one(timeout_seconds=60)
    address = f"/admin/inbox/{request.pk}/extend/"
    assert looker.post(address, {"seconds": 300}).status_code == 403
    assert operator.post(address, {"seconds": "soon"}).status_code == 400
    assert operator.get(address).headers["Location"] == f"/admin/inbox/{request.pk}/"
    assert not Extension.objects.exists()
    assert operator.post(address, {"seconds": 300}).headers["Location"] == f"/admin/inbox/{request.pk}/"
    request.refresh_from_db()
    assert request.timeout_seconds == 360
    assert "by <bdi>omar</bdi>, 5 min more" in operator.get(f"/admin/inbox/{request.pk}/").text
    decide(operator, request)
    assert operator.post(address, {"seconds": 300}).status_code == 409


def test_the_page_tells_what_was_decided_on_the_tool_before(operator: Client) -> None:
    first = open_one(arguments={"to": "jane@example.com", "text": "Hello"})
    decide(operator, first, note="fine by me")
    page = operator.get(f"/admin/inbox/{open_one(tool_id=first.tool_id).pk}/").text
    assert "fine by me" in page
    assert "<del>Hello</del>" in page
    assert "<ins>Welcome</ins>" in page


def test_a_rejection_that_stops_the_run_ends_it_with_its_other_requests(operator: Client) -> None:
    run = Run.objects.create(agent=agents.create(name="agent", tools=[]), input="go", spec={})
    rejected, other = open_one(run_id=run.pk), open_one(run_id=run.pk)
    page = operator.get(f"/admin/inbox/{rejected.pk}/").text
    assert 'name="stop_run"' in page
    decide(operator, rejected, "rejected", stop_run="1", note="Too risky.")
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert "rejected its call of send_mail. Too risky." in RunEvent.objects.get(run=run, key="end").payload["content"]
    assert ApprovalRequest.objects.get(pk=rejected.pk).status == Status.REJECTED
    assert ApprovalRequest.objects.get(pk=other.pk).status == Status.CANCELLED


def test_only_a_rejection_stops_a_run(operator: Client) -> None:
    request = open_one()
    assert decide(operator, request, "approved", stop_run="1").status_code == 400
    assert ApprovalRequest.objects.get(pk=request.pk).status == Status.PENDING

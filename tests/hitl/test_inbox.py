"""The inbox: what its filters find, how its pages hold together, and many decided at once."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from aip.core.db import from_now
from hitl import approvals
from hitl.console import inbox
from hitl.models import ApprovalRequest, Decision, Source, Status
from tests.hitl.calls import open_one
from tests.hitl.test_console import client_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return client_of("omar", "view_approvalrequest", "decide_approvalrequest")


def found(client: Client, **query: str) -> list[str]:
    """The ids on the first page."""
    return [str(card["request"].pk) for card in client.get("/admin/inbox/", query).context["cards"]]


def ids(*requests: ApprovalRequest) -> list[str]:
    return [str(request.pk) for request in requests]


def test_requests_are_found_by_tool_agent_argument_and_id(operator: Client) -> None:
    mail = open_one(timeout_seconds=60)
    payment = open_one(timeout_seconds=70, tool_name="pay", agent_name="bookkeeper", arguments={"payee": "Steel AG"})
    assert found(operator) == ids(mail, payment)
    assert found(operator, tool="pay") == found(operator, agent="bookkeeper") == ids(payment)
    assert found(operator, q="steel") == found(operator, q="BOOK") == found(operator, q="pa") == ids(payment)
    assert found(operator, q=str(mail.pk)) == found(operator, q=str(mail.run_id)[:13]) == ids(mail)
    assert found(operator, tool="pay", agent="recruiter") == found(operator, q="%") == []


def test_requests_are_found_by_their_age_and_the_time_that_is_left(operator: Client) -> None:
    young = open_one(timeout_seconds=50)
    old = open_one(timeout_seconds=7200)
    ApprovalRequest.objects.filter(pk=old.pk).update(created_at=Now() - (from_now(0) - from_now(-1000)))
    assert found(operator, age="900") == ids(old)
    assert found(operator, age="3600") == []
    assert found(operator, left="60") == ids(young)
    assert found(operator, left="86400") == ids(young, old)


@pytest.mark.parametrize(
    ("query", "field"),
    [({"left": "many"}, "left"), ({"after": "here"}, "after"), ({"q": "\0"}, "q"), ({"age": "7"}, "age")],
)
def test_a_filter_that_cannot_be_read_is_named(operator: Client, query: dict[str, str], field: str) -> None:
    open_one()
    answer = operator.get("/admin/inbox/", query)
    assert answer.status_code == 400
    assert f"{field}: " in answer.content.decode()


def test_pages_hold_together_while_requests_come_and_go(operator: Client, alice: User) -> None:
    requests = [open_one(timeout_seconds=1000 + i // 3) for i in range(70)]
    ApprovalRequest.objects.update(timeout_at=F("timeout_at"))
    line = ids(*approvals.pending())
    first = operator.get("/admin/inbox/")
    assert [str(card["request"].pk) for card in first.context["cards"]] == line[:25]
    for request in requests[:10]:
        approvals.decide(request.pk, decision=Status.SKIPPED, by=alice, source=Source.API)
    open_one(timeout_seconds=100)
    second = operator.get(f"/admin/inbox/?{first.context['next_page']}")
    assert [str(card["request"].pk) for card in second.context["cards"]] == line[25:50]
    third = operator.get(f"/admin/inbox/?{second.context['next_page']}")
    assert [str(card["request"].pk) for card in third.context["cards"]] == line[50:]
    assert third.context["next_page"] == ""
    assert (first.context["total"], second.context["total"], third.context["total"]) == ("70", "61", "61")


def test_what_is_counted_is_what_passes_the_filters_and_no_more_than_helps(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        open_one(tool_name=["pay", "send"][i % 2])
    assert operator.get("/admin/inbox/", {"tool": "pay"}).context["total"] == "3"
    monkeypatch.setattr(inbox, "COUNTED", 5)
    assert operator.get("/admin/inbox/").context["total"] == "more than 5"


def test_the_filters_offer_what_waits(operator: Client, alice: User) -> None:
    for name in ("b", "a", "b"):
        open_one(tool_name=name, agent_name=f"agent {name}")
    done = open_one(tool_name="c")
    approvals.decide(done.pk, decision=Status.SKIPPED, by=alice, source=Source.API)
    offered = operator.get("/admin/inbox/", {"tool": "gone"}).context["choices"]
    assert (offered["tool"], offered["agent"]) == (["a", "b", "gone"], ["agent a", "agent b"])


def test_an_empty_inbox_says_what_will_appear_here(operator: Client) -> None:
    assert "When an agent calls a gated tool" in operator.get("/admin/inbox/").content.decode()
    assert "Show all that waits" in operator.get("/admin/inbox/", {"tool": "x"}).content.decode()


def decide(client: Client, decision: str, *requests: ApprovalRequest, **more: Any) -> Any:
    picks = [f"{request.pk}:{request.seal}" for request in requests]
    return client.post("/admin/inbox/bulk/", {"decision": decision, "pick": picks, **more})


def test_many_are_decided_at_once_each_by_itself_and_each_with_its_result(operator: Client, alice: User) -> None:
    good, late, other, long, harmful = (
        open_one(),
        open_one(),
        open_one(),
        open_one(arguments={"to": "a@b", "text": "x" * 2000}),
        open_one(destructive=True),
    )
    approvals.decide(late.pk, decision=Status.REJECTED, by=alice, source=Source.API)
    other.seal = "0" * 64
    answer = decide(operator, "approved", good, late, other, long, harmful, note="all of them")
    page = answer.content.decode()
    assert "1 decided, 4 not" in page
    for why in ("already rejected by alice", "not the call that you saw", "too long to be read", "destructive"):
        assert why in page
    assert [d.operator_input for d in Decision.objects.filter(decided_by_name="omar")] == ["all of them"]
    assert decide(operator, "rejected", long, harmful).context["done"] == 2


def test_a_bulk_decision_about_nothing_or_too_much_decides_nothing(operator: Client) -> None:
    request = open_one()
    assert decide(operator, "approved").status_code == 400
    assert decide(operator, "maybe", request).status_code == 400
    picks = {"decision": "approved", "pick": ["x", f"{request.pk}:", "\0"]}
    assert "does not say which call" in operator.post("/admin/inbox/bulk/", picks).content.decode()
    looker = client_of("looker", "view_approvalrequest")
    assert decide(looker, "approved", request).status_code == 403
    assert operator.get("/admin/inbox/bulk/").headers["Location"] == "/admin/inbox/"
    assert not Decision.objects.exists()


COPY = """
INSERT INTO hitl_approvalrequest (id, run_id, agent_id, agent_name, checkpoint_ns, round, reason, tool_id, tool_version,
    tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds, created_at, timeout_at,
    execution)
SELECT gen_random_uuid(), gen_random_uuid(), agent_id, agent_name, checkpoint_ns, round, reason, tool_id, tool_version,
    tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds, created_at,
    timeout_at + n * interval '1 ms', execution
FROM hitl_approvalrequest, generate_series(1, %s) n WHERE id = %s
"""


def test_ten_thousand_cost_as_many_statements_as_ten(operator: Client) -> None:
    request = open_one(timeout_seconds=3600)
    paths = ["/admin/inbox/", "/admin/inbox/?tool=send_mail&q=jane", f"/admin/inbox/{request.pk}/"]

    def statements(copies: int) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(COPY, [copies, request.pk])
        found = []
        for path in paths:
            with CaptureQueriesContext(connection) as queries:
                assert operator.get(path).status_code == 200
            found.append(len(queries))
        return found

    statements(1)
    few = statements(8)
    assert operator.get("/admin/inbox/").context["total"] == "10"
    assert statements(9_990) == few
    assert max(few) <= 14
    assert operator.get("/admin/inbox/").context["total"] == "more than 1,000"

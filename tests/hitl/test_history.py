"""What was decided, by whom, from where, after how long; and the same as CSV, which streams."""

import asyncio
import csv
import io
import uuid
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from hitl import approvals, cancellations, executions
from hitl.console import csv_export
from hitl.models import ApprovalRequest, Source, Status
from tests.hitl.calls import a_call, open_one
from tests.hitl.test_console import client_of
from tests.live import Live

LIST, EXPORT = "/admin/hitl/approvalrequest/", "/admin/hitl/approvalrequest/export/"
MANY = 20_000


def decided(word: Status, by: User, *, source: Source = Source.API, **extras: Any) -> ApprovalRequest:
    request = open_one(**extras.pop("call", {}))
    approvals.decide(request.pk, decision=word, by=by, source=source, **extras)
    return request


def edited(by: User) -> ApprovalRequest:
    arguments = {"to": "jane.doe@example.com", "text": "Welcome, Jane"}
    return decided(Status.APPROVED, by, source=Source.CONSOLE, arguments=arguments, note="friendlier")


@pytest.mark.django_db
def test_the_list_tells_who_decided_what_from_where_after_how_long_and_what_was_changed(
    alice: User, admin_client: Client
) -> None:
    edited(alice)
    decided(Status.SKIPPED, alice, answer="Done by hand.")
    open_one(agent_name="still waiting")
    page = table_of(admin_client.get(LIST).text)
    for shown in ("Approved with changes", "Answered", "alice", "in the console", "over the API"):
        assert shown in page
    assert "<div><bdi>text</bdi>: <del><bdi>Welcome</bdi></del> <ins><bdi>Welcome, Jane</bdi></ins></div>" in page
    assert "still waiting" not in page


@pytest.mark.django_db
def test_the_history_speaks_to_people_and_not_in_the_wires_words(alice: User, admin_client: Client) -> None:
    decided(Status.REJECTED, alice)
    overdue, failed = open_one(), open_one()
    ApprovalRequest.objects.filter(pk=overdue.pk).update(created_at="2001-01-01T00:00Z", timeout_at="2001-01-02T00:00Z")
    admin_page = "admin:hitl_approvalrequest_change"
    for word in (">Out of time<", "Nobody decided in time"):
        assert word in admin_client.get(f"/admin/inbox/{overdue.pk}/card/").text
    approvals.time_out_overdue()
    cancellations.end_with_runs([failed.run_id], timed_out=True)
    page = admin_client.get(LIST).text
    for word in ("Out of time", "by the clock", "nobody", "over the API"):
        assert word in table_of(page)
    assert "Approval requests" not in page
    assert "Its run failed at its own limit" in admin_client.get(reverse(admin_page, args=[failed.pk])).text
    assert "TIMEOUT" not in admin_client.get(reverse(admin_page, args=[overdue.pk])).text
    assert "timeout_skip" not in table_of(page)


def table_of(page: str) -> str:
    return page.partition('id="result_list"')[2].partition("</table>")[0]


@pytest.mark.django_db
def test_the_page_of_a_past_request_shows_both_versions_or_the_answer(alice: User, admin_client: Client) -> None:
    change = "admin:hitl_approvalrequest_change"
    page = admin_client.get(reverse(change, args=[edited(alice).pk])).text
    assert "Changed by the operator, and run so" in page
    assert "Welcome, Jane" in page
    answered = decided(Status.SKIPPED, alice, answer="Done by <b>hand</b>.")
    assert "Done by &lt;b&gt;hand&lt;/b&gt;." in admin_client.get(reverse(change, args=[answered.pk])).text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=approved", ["plain"]),
        ("outcome=approved+with+changes", []),
        ("outcome=answered", ["answered"]),
        ("outcome=rejected", ["rejected"]),
        ("decision__decided_by_name=bob", ["rejected"]),
        ("decision__source=console", ["rejected"]),
        ("tool_name=post", ["answered"]),
        ("closed_at__gte=2100-01-01+00:00:00%2B00:00", []),
    ],
)
def test_the_list_and_the_export_are_filtered_alike(
    alice: User, bob: User, admin_client: Client, query: str, found: list[str]
) -> None:
    decided(Status.APPROVED, alice, call={"agent_name": "plain"})
    decided(Status.REJECTED, bob, source=Source.CONSOLE, call={"agent_name": "rejected"})
    decided(Status.SKIPPED, alice, answer="x", call={"agent_name": "answered", "tool_name": "post"})
    page = admin_client.get(f"{LIST}?{query}").text
    assert [name for name in ("plain", "rejected", "answered") if f"<bdi>{name}</bdi>" in table_of(page)] == found
    assert f"{EXPORT}?{query.partition('=')[0]}=" in page


def rows_of(requests: Any) -> list[dict[str, str]]:
    async def read() -> str:
        return "".join([part async for part in csv_export.export(requests)])

    return list(csv.DictReader(io.StringIO(asyncio.run(read()))))


@pytest.mark.django_db(transaction=True)
def test_the_export_has_every_closed_request_once_the_last_one_first(alice: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(csv_export, "ROWS", 3)
    requests = [decided(Status.REJECTED, alice, note=f"note {number}") for number in range(10)]
    # Closed at one moment, as by the sweep.
    first = ApprovalRequest.objects.get(pk=requests[0].pk)
    ApprovalRequest.objects.filter(pk__in=[request.pk for request in requests[:5]]).update(closed_at=first.closed_at)
    open_one()
    rows = rows_of(ApprovalRequest.objects.all())
    assert [row["note"] for row in rows[:5]] == [f"note {number}" for number in (9, 8, 7, 6, 5)]
    assert sorted(row["request_id"] for row in rows) == sorted(str(request.pk) for request in requests)


@pytest.mark.django_db(transaction=True)
def test_the_export_tells_both_versions_and_what_became_of_it(alice: User) -> None:
    request = edited(alice)
    (row,) = rows_of(ApprovalRequest.objects.all())
    assert (row["decision"], row["decided_by"], row["from"], row["note"]) == (
        "approved with changes",
        "alice",
        "console",
        "friendlier",
    )
    assert '"Welcome"' in row["arguments"]
    assert '"Welcome, Jane"' in row["approved_arguments"]
    assert 0 <= float(row["seconds_open"]) < 60
    assert (row["seal"], row["tool_version"]) == (request.seal, request.tool_version)
    assert row["approved_seal"] not in ("", row["seal"])


@pytest.mark.django_db(transaction=True)
def test_an_edit_of_an_earlier_round_that_is_approved_as_it_is_counts_as_one_everywhere(
    alice: User, admin_client: Client
) -> None:
    first = ApprovalRequest.objects.select_related("decision").get(pk=edited(alice).pk)
    assert executions.claim_execution(first.pk)
    call = a_call(run_id=first.run_id, checkpoint_ns=first.checkpoint_ns, arguments=first.to_run)
    second = approvals.ask_again(first, call, "its outcome is unknown")
    approvals.decide(second.pk, decision=Status.APPROVED, by=alice, source=Source.CONSOLE)
    for row in rows_of(ApprovalRequest.objects.all()):
        assert row["decision"] == "approved with changes"
        assert ('"Welcome"' in row["arguments"], '"Welcome, Jane"' in row["approved_arguments"]) == (True, True)
    listed = table_of(admin_client.get(f"{LIST}?outcome=approved+with+changes").text)
    assert listed.count("<ins><bdi>Welcome, Jane</bdi></ins>") == 2
    assert "<bdi>" not in table_of(admin_client.get(f"{LIST}?outcome=approved").text)
    page = admin_client.get(reverse("admin:hitl_approvalrequest_change", args=[second.pk])).text
    assert "Changed by the operator, and run so" in page
    assert "Approved with changes by alice" in admin_client.get(f"/admin/inbox/{second.pk}/").text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_is_a_formula(alice: User, start: str) -> None:
    evil = f'{start}HYPERLINK("http://evil.example.com")'
    decided(Status.SKIPPED, alice, note=evil, answer=evil, call={"agent_name": evil, "tool_name": evil})
    (row,) = rows_of(ApprovalRequest.objects.all())
    assert {row[name] for name in ("note", "answer", "agent", "tool")} == {f"'{evil}"}


@pytest.mark.django_db(transaction=True)
def test_the_first_part_is_there_when_the_first_rows_are_read(alice: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(csv_export, "ROWS", 2)
    for _ in range(6):
        decided(Status.REJECTED, alice)
    reads = []
    part = csv_export._part
    monkeypatch.setattr(csv_export, "_part", lambda *args: reads.append(1) or part(*args))

    async def begin() -> list[str]:
        async with aclosing(csv_export.export(ApprovalRequest.objects.all())) as parts:
            return [await anext(parts), await anext(parts)]

    header, first = asyncio.run(begin())
    assert header.startswith('"closed_at","request_id",')
    assert (len(first.splitlines()), len(reads)) == (2, 1)


@pytest.mark.django_db
def test_the_export_is_for_those_who_may_view_and_refuses_nonsense(
    client: Client, admin_client: Client, alice: User
) -> None:
    edited(alice)
    assert client.get(EXPORT).headers["Location"].startswith("/admin/login/")
    assert client_of("staff").get(EXPORT).status_code == 403
    assert admin_client.get(f"{EXPORT}?status__exact=%00").status_code == 400
    assert admin_client.get(f"{EXPORT}?agent_id=no").status_code == 400


# Over a really running server


@pytest.fixture
def many(server: Live) -> Iterator[str]:
    """The id of an agent with very many requests that were closed long ago."""
    agent = str(uuid.uuid4())
    server.write(
        "INSERT INTO hitl_approvalrequest (id, run_id, agent_id, agent_name, checkpoint_ns, round, reason, tool_id,"
        " tool_version, tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds,"
        " created_at, timeout_at, closed_at, settled_at, execution)"
        " SELECT gen_random_uuid(), gen_random_uuid(), %s, 'old', 'tools:', 1, '', gen_random_uuid(), '', 'old', '',"
        " jsonb_build_object('text', repeat('x', 500)), '{}', '{}', '', 'cancelled', 1, at, at + interval '1 s', at,"
        " at, 'none' FROM (SELECT timestamptz '2001-01-01' + number * interval '1 s' AS at"
        " FROM generate_series(1, %s) AS number) AS moments",
        agent,
        MANY,
    )
    server.write("ANALYZE hitl_approvalrequest")
    yield agent
    server.write("DELETE FROM hitl_approvalrequest WHERE agent_id = %s", agent)


def logged_in(server: Live) -> httpx.Client:
    client = httpx.Client(base_url=server.url, timeout=60)
    client.get("/admin/login/")
    password = (server.data_dir / "operator-password").read_text().strip()
    form = {"username": "operator", "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    assert client.post("/admin/login/", data=form, headers={"Referer": server.url}).status_code == 302
    return client


def test_the_first_byte_leaves_the_server_before_the_last_row_is_read(server: Live, many: str) -> None:
    oldest = "SELECT id::text FROM hitl_approvalrequest WHERE agent_id = %s ORDER BY closed_at LIMIT 1"
    ((last,),) = server.rows(oldest, many)
    with closing(logged_in(server)) as client, client.stream("GET", f"{EXPORT}?agent_id={many}") as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        parts = answer.iter_bytes()
        begun = next(parts)
        server.write("DELETE FROM hitl_approvalrequest WHERE id = %s", last)
        text = (begun + b"".join(parts)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == MANY - 1
    assert last not in text

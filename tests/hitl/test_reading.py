"""What the page of a request is made of: typed arguments, differences, and what was decided before."""

import json
import re
import time
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hitl import approvals
from hitl.console import precedents
from hitl.console.argument_display import DisplayKind, displayed
from hitl.console.diff import differences
from hitl.models import ApprovalRequest, Source, Status
from tests.hitl.calls import open_one

ASKED = {"to": "jane.doe@example.com", "text": "Welcome"}


# Arguments


@pytest.mark.parametrize(
    ("name", "value", "kind", "text"),
    [
        ("x", None, DisplayKind.NOTHING, "null"),
        ("x", True, DisplayKind.BOOLEAN, "true"),
        ("x", 1.5, DisplayKind.NUMBER, "1.5"),
        ("x", "short", DisplayKind.TEXT, "short"),
        ("x", "word " * 40, DisplayKind.LONG_TEXT, "word " * 40),
        ("x", "two\nlines", DisplayKind.LONG_TEXT, "two\nlines"),
        ("x", [1], DisplayKind.JSON, "[\n  1\n]"),
        ("x", '{"a":1}', DisplayKind.JSON, '{\n  "a": 1\n}'),
        ("x", '{"a": 1, "a": 2}', DisplayKind.JSON, '{"a": 1, "a": 2}'),
        ("x", "[not json", DisplayKind.TEXT, "[not json"),
        ("x", "[" * 100_000, DisplayKind.LONG_TEXT, "[" * 100_000),
        ("sql", "DROP TABLE users", DisplayKind.CODE, "DROP TABLE users"),
        ("x", "import os\nos.remove('a')", DisplayKind.CODE, "import os\nos.remove('a')"),
        ("x", "Subject: Hi\nTo: jane\n\nWelcome", DisplayKind.EMAIL, "Subject: Hi\nTo: jane\n\nWelcome"),
        ("x", "\u202eevil", DisplayKind.TEXT, "\\u202eevil"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_argument_is_shown_as_what_it_is(name: str, value: Any, kind: DisplayKind, text: str) -> None:
    (found,) = displayed({}, {name: value})
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.django_db
def test_a_text_that_says_true_is_told_from_what_is_true(admin_client: Client) -> None:
    page = admin_client.get(f"/admin/inbox/{open_one(arguments={'said': 'true', 'is': True}).pk}/").text
    labels = dict(re.findall(r'<bdi>(\w+)</bdi> <span class="aip-kind">([^<]*)</span>', page))
    assert labels == {"said": "text", "is": "yes or no"}


def test_the_body_of_a_mail_is_one_beside_its_address() -> None:
    found = displayed(
        {"properties": {"body": {"title": "Body"}}}, {"to": "jane@example.com", "body": "Welcome", "a": 1}
    )
    assert [(each.name, each.kind) for each in found] == [
        ("body", DisplayKind.EMAIL),
        ("to", DisplayKind.TEXT),
        ("a", DisplayKind.NUMBER),
    ]


@pytest.mark.timeout(60)  # else it would take hours
def test_a_million_characters_are_read_at_once() -> None:
    for text in ("a " * 500_000, "a\n" * 500_000, "{" * 1_000_000, "To: x\n" * 150_000, json.dumps(["x"] * 200_000)):
        (found,) = displayed({}, {"x": text})
        assert len(found.text) >= len(text)


# Differences


def test_only_what_differs_is_told_line_by_line() -> None:
    found = differences(
        {"same": 1, "text": "one\ntwo\nthree", "gone": None, "number": 5},
        {"same": 1, "text": "one\n2\nthree", "number": "5", "new": [1]},
    )
    assert [(each.name, each.kind, each.before, each.after) for each in found] == [
        ("text", "changed", "one\ntwo\nthree", "one\n2\nthree"),
        ("gone", "removed", "null", None),
        ("number", "changed", "5", '"5"'),
        ("new", "added", None, "[\n  1\n]"),
    ]
    assert [sign + line for sign, line in found[0].lines][1:] == [" one", "-two", "+2", " three"]


def test_differences_of_long_texts_take_no_time() -> None:
    began = time.monotonic()
    long, other = "\n".join(map(str, range(100_000))), "\n".join(map(str, range(100_000, 0, -1)))
    (found,) = differences({"x": long}, {"x": other})
    assert (found.before, found.lines) == (long, ())
    assert time.monotonic() - began < 1


# What was decided before


def decided(word: Status, by: User, **changes: Any) -> ApprovalRequest:
    more = {key: changes.pop(key) for key in ("note", "edited") if key in changes}
    request = open_one(**changes)
    edited = {"arguments": more["edited"]} if "edited" in more else {}
    approvals.decide(request.pk, decision=word, by=by, source=Source.API, note=more.get("note", ""), **edited)
    return request


@pytest.mark.django_db
def test_a_call_is_compared_with_the_last_approved_one_of_its_tool_as_it_ran(
    alice: User, django_assert_num_queries: Any
) -> None:
    request = open_one(arguments=ASKED)
    assert precedents.changes_since(request) is None
    same = {"tool_id": request.tool_id}
    decided(Status.APPROVED, alice, **same, arguments=ASKED | {"text": "long ago"})
    edited = decided(Status.APPROVED, alice, **same, arguments=ASKED, edited=ASKED | {"text": "Welcome, Jane"})
    decided(Status.REJECTED, alice, **same, arguments={})
    decided(Status.APPROVED, alice, arguments={})
    with django_assert_num_queries(1):
        found = precedents.changes_since(request)
        assert found
        assert found.request == edited
        assert [(each.name, each.before, each.after) for each in found.changes] == [
            ("text", "Welcome, Jane", "Welcome")
        ]


@pytest.mark.django_db
def test_the_last_decisions_on_a_tool_are_told_with_their_notes(alice: User, django_assert_num_queries: Any) -> None:
    request = open_one()
    for number in range(7):
        decided(Status.REJECTED, alice, tool_id=request.tool_id, note=f"note {number}")
    decided(Status.SKIPPED, alice, note="another tool's")
    with django_assert_num_queries(1):
        found = precedents.earlier_decisions(request)
        assert [each.decision.operator_input for each in found] == [f"note {n}" for n in (6, 5, 4, 3, 2)]
    # Of a closed one, what was before it.
    assert [each.decision.operator_input for each in precedents.earlier_decisions(found[-1])] == ["note 1", "note 0"]


@pytest.mark.django_db
def test_they_are_found_by_an_index_among_many(alice: User) -> None:
    row = ApprovalRequest.objects.get(pk=decided(Status.APPROVED, alice).pk)
    fields = {field.attname: getattr(row, field.attname) for field in row._meta.fields if field.attname != "id"}
    others = [ApprovalRequest(**fields | {"checkpoint_ns": f"tools:{n}", "tool_id": uuid.uuid4()}) for n in range(5000)]
    ApprovalRequest.objects.bulk_create(others)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE hitl_approvalrequest")
    with CaptureQueriesContext(connection) as queries:
        precedents.changes_since(open_one(tool_id=row.tool_id))
        precedents.earlier_decisions(open_one(tool_id=row.tool_id))
    looks = [q["sql"] for q in queries if q["sql"].startswith("SELECT") and '"closed_at" DESC' in q["sql"]]
    assert len(looks) == 2
    with connection.cursor() as cursor:
        for sql in looks:
            cursor.execute(f"EXPLAIN {sql}")
            assert "decided_calls_of_a_tool" in "\n".join(line[0] for line in cursor.fetchall())

"""The inbox: what waits, searched and filtered, page by page. A queue's filters go with its requests' pages."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from aip.core.admin_pages import has_id
from aip.core.db import from_now
from aip.core.text import visible
from hitl import approvals
from hitl.console.base import DECIDE, may_view, render_page
from hitl.console.cards import cards, read_card
from hitl.models import ApprovalRequest

CARDS = 25
RECENT_CARDS = 10
# Beyond this the exact number helps nobody, and counting takes longer than all else.
COUNTED = 1000
MAX_CHOICES = 200
TIMES = [(60, "1 minute"), (300, "5 minutes"), (900, "15 minutes"), (3600, "1 hour"), (86400, "1 day")]
# The distinct values of a column among what waits, by one step down its index for each.
DISTINCT = """
WITH RECURSIVE found AS (
    (SELECT {0} AS name FROM hitl_approvalrequest WHERE status = 'pending' ORDER BY {0} LIMIT 1)
    UNION ALL
    SELECT (SELECT {0} FROM hitl_approvalrequest WHERE status = 'pending' AND {0} > found.name ORDER BY {0} LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL LIMIT %s
"""


class CursorField(forms.CharField):
    """Where a page begins: after the request of this deadline and id."""

    def clean(self, value: Any) -> tuple[datetime, UUID] | None:
        text = super().clean(value)
        try:
            at, _, pk = text.partition("~")
            return (datetime.fromisoformat(at), UUID(pk)) if text else None
        except ValueError:
            raise forms.ValidationError("This is no place in the list; begin at its first page.") from None


class Filters(forms.Form):
    """Which requests of those that wait; every field may be empty."""

    q = forms.CharField(required=False, max_length=200, label="Search")
    tool = forms.CharField(required=False, max_length=255)
    agent = forms.CharField(required=False, max_length=255)
    left = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, choices=TIMES, label="Time left")
    age = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, choices=TIMES, label="Waiting for")
    after = CursorField(required=False, max_length=100)

    @property
    def query(self) -> str:
        """The filters as a query string, without the cursor."""
        values = {name: self.data.get(name, "") for name in self.fields if name != "after"}
        return urlencode({name: value for name, value in values.items() if value})

    def at(self, address: str) -> str:
        """`address` with the filters."""
        return f"{address}?{self.query}" if self.query else address

    def requests(self) -> QuerySet[ApprovalRequest]:
        """What waits and passes the filters, the next to expire first; nothing while a filter cannot be read."""
        if not self.is_valid():
            return approvals.pending().none()
        cleaned = self.cleaned_data
        found = approvals.pending()
        for field, name in (("tool", "tool_name"), ("agent", "agent_name")):
            if cleaned[field]:
                found = found.filter(**{name: cleaned[field]})
        if cleaned["left"]:
            found = found.filter(timeout_at__lte=from_now(cleaned["left"]))
        if cleaned["age"]:
            found = found.filter(created_at__lte=from_now(-cleaned["age"]))
        if cleaned["q"]:
            found = found.alias(text=Cast("arguments", TextField())).filter(_matches(cleaned["q"]))
        return found

    def from_here(self) -> QuerySet[ApprovalRequest]:
        cursor = self.cleaned_data["after"] if self.is_valid() else None
        return later_than(self.requests(), *cursor) if cursor else self.requests()


def _matches(term: str) -> Q:
    named = Q(tool_name__icontains=term) | Q(agent_name__icontains=term)
    return named | Q(text__icontains=term) | has_id(term) | has_id(term, "run_id")


def later_than(requests: QuerySet[ApprovalRequest], at: datetime, pk: UUID) -> QuerySet[ApprovalRequest]:
    """Those that come later in the line: stable, whatever is added or removed before them."""
    return requests.filter(timeout_at__gte=at).exclude(timeout_at=at, pk__lte=pk)


def _choices(column: str, chosen: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(DISTINCT.format(column), [MAX_CHOICES])
        names = {row[0] for row in cursor.fetchall()} | ({chosen} if chosen else set())
    # Names with invisible characters are not offered as filter choices.
    return [name for name in sorted(names, key=str.lower) if visible(name) == name]


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    user = may_view(request)
    filters = Filters(request.GET)
    shown = cards(user, filters.from_here()[: CARDS + 1])
    last = shown[CARDS - 1]["request"] if len(shown) > CARDS else None
    total = filters.requests()[: COUNTED + 1].count()
    return render_page(
        request,
        "hitl/inbox.html",
        status=200 if filters.is_valid() else 400,
        title="Inbox",
        cards=shown[:CARDS],
        total=f"more than {COUNTED:,}" if total > COUNTED else f"{total:,}",
        filters=filters,
        is_later=bool(filters.data.get("after")),
        next_page=urlencode({"after": f"{last.timeout_at.isoformat()}~{last.pk}"}) if last else "",
        choices={
            "tool": _choices("tool_name", filters.data.get("tool", "")),
            "agent": _choices("agent_name", filters.data.get("agent", "")),
            "time": [(str(seconds), label) for seconds, label in TIMES],
        },
        recent=cards(user, approvals.recently_closed()[:RECENT_CARDS]),
        may_decide=user.has_perm(DECIDE),
    )


@require_safe
def card(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """One card, for a page that is open."""
    found = read_card(may_view(request), request_id)
    return render(request, "hitl/card.html", {"card": found, "query": Filters(request.GET).query})

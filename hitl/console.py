"""The operator's screen: the inbox and the page of one request, in the admin's theme.

Plain pages and forms. The script beside them (`static/hitl/console.js`) only fetches the same HTML again.
"""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe

from aip.admin import INDENT, pretty, read
from aip.text import visible
from hitl import approvals
from hitl.forms import DecisionForm
from hitl.models import ApprovalRequest, Decision, Source, Status
from hitl.refusals import describe_closing

VIEW = "hitl.view_approvalrequest"
DECIDE = "hitl.decide_approvalrequest"
# What the inbox shows at once; the number that wait is told beside it.
CARDS = 100
RECENT_CARDS = 10
CARD_CHARACTERS = 600
NO_DECISION = Decision()


def may_view(request: HttpRequest) -> User:
    """The operator who asks. Raises PermissionDenied."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm(VIEW):
        raise PermissionDenied("You may not see approval requests. Ask an administrator for the group 'operators'.")
    return user


def choices(user: User, approval: ApprovalRequest, seconds_left: float) -> tuple[Status, ...]:
    """What `user` may decide now: the buttons of the pages, and the guard of the POST."""
    may = user.has_perm(DECIDE) and approval.status == Status.PENDING and seconds_left > 0
    return approvals.DECIDABLE if may else ()


def _narrow(json: str) -> str:
    """With half the indentation that PostgreSQL gives: a phone is narrow."""
    return INDENT.sub(lambda found: found[0][::2], json)


def _cards(user: User, requests: QuerySet[ApprovalRequest]) -> list[dict[str, Any]]:
    """What a card shows of each request: one statement, and of long arguments no more than the card's part."""
    rows = (
        requests.select_related("decision")
        .defer("arguments", "context", "output")
        .annotate(now=Now(), shown=pretty("arguments", CARD_CHARACTERS))
    )
    return [_card(user, row) for row in rows]


def _card(user: User, row: Any) -> dict[str, Any]:
    left = (row.timeout_at - row.now).total_seconds()
    decision = getattr(row, "decision", NO_DECISION)
    return {
        "request": row,
        "tool": visible(row.tool_name),
        "agent": visible(row.agent_name),
        "arguments": _narrow(visible(row.shown[:CARD_CHARACTERS])),
        "is_cut": len(row.shown) > CARD_CHARACTERS,
        "seconds_left": max(0, left),
        "age_seconds": max(0, (row.now - row.created_at).total_seconds()),
        "choices": choices(user, row, left),
        "is_closed": row.status != Status.PENDING or left <= 0,
        "closing": _closing(row, decision),
        "decision": decision,
        "note": "" if decision.source == Source.TIMEOUT else visible(decision.operator_input),
        "client_run_id": visible(decision.client_run_id),
        "call_id": visible(row.tool_call_id),
        "reason": visible(row.reason),
    }


def _closing(row: ApprovalRequest, decision: Decision) -> str:
    """Who closed it, and from where; the page adds when."""
    match row.status:
        case Status.PENDING | Status.TIMEOUT_SKIP:
            return "Nobody decided in time, so the step was skipped"
        case Status.CANCELLED:
            return "Cancelled with its run"
        case _:
            where = "over the API" if decision.source == Source.API else "in the console"
            return f"{Status(row.status).label} by {visible(decision.decided_by_name)} {where}"


def _page(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """A whole page; for our script, which renews an open one, only what stands in it.

    The frame shows what was told to the person once: a read that nobody sees must not use that up.
    """
    if _is_script(request):
        frame = {"frame": "hitl/part.html"}
    else:
        frame = {"frame": "hitl/base.html", **admin.site.each_context(request)}
    answer = render(request, template, {**frame, **context}, status=status)
    add_never_cache_headers(answer)  # one address, two answers; and a kept page would show what is no more
    return answer


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """The admin's first page: the inbox, for those who may see it."""
    if request.user.has_perm(VIEW):
        return redirect("inbox")
    return admin.site.index(request)


@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    user = may_view(request)
    waiting = approvals.pending()
    return _page(
        request,
        "hitl/inbox.html",
        title="Inbox",
        cards=_cards(user, waiting[:CARDS]),
        total=waiting.count(),
        limit=CARDS,
        recent=_cards(user, approvals.recently_closed()[:RECENT_CARDS]),
        may_decide=user.has_perm(DECIDE),
    )


@require_safe
def card(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """One card, for a page that is open."""
    return render(request, "hitl/card.html", {"card": _one(may_view(request), request_id)})


def _one(user: User, request_id: UUID) -> dict[str, Any]:
    found = _cards(user, ApprovalRequest.objects.filter(pk=request_id))
    if not found:
        raise Http404("There is no such approval request.")
    return found[0]


@require_safe
def detail(request: HttpRequest, request_id: UUID) -> HttpResponse:
    return _detail(request, request_id)


def _detail(request: HttpRequest, request_id: UUID, *, status: int = 200, problem: str = "") -> HttpResponse:
    user = may_view(request)
    found = _one(user, request_id)
    row = found["request"]
    texts = read(row, arguments=pretty("arguments"), output="output")
    conversation = row.context.get("conversation", [])
    return _page(
        request,
        "hitl/detail.html",
        status=status,
        title="Request",
        card=found | {"is_cut": False},
        problem=problem,
        arguments=_narrow(visible(texts["arguments"])),
        output=visible(texts["output"]),
        conversation=[{"role": m["role"], "text": visible(m["content"])} for m in conversation],
    )


def decide(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Decide from the console. A second decision is answered 409 with who, what and when."""
    if request.method != "POST":  # back from the login page
        return redirect("request", request_id)
    user = may_view(request)
    found = _one(user, request_id)
    if not found["choices"]:
        if not found["is_closed"]:
            raise PermissionDenied("You may look, but not decide. Ask an administrator for the group 'operators'.")
        return _too_late(request, found["request"])
    form = DecisionForm(request.POST)
    if not form.is_valid():
        problem = " ".join(f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items())
        return _answer(request, request_id, status=400, problem=f"Nothing was decided. {problem}")
    try:
        made = approvals.decide(
            request_id,
            decision=Status(form.cleaned_data["decision"]),
            by=user,
            source=Source.CONSOLE,
            note=form.cleaned_data["note"],
        )
    except approvals.AlreadyClosed as e:
        return _too_late(request, e.request)
    if _is_script(request):
        return render(request, "hitl/card.html", {"card": _one(user, request_id)})
    messages.success(request, f"You {made.decision} the call of {visible(made.request.tool_name)}.")
    return redirect("inbox")


def _too_late(request: HttpRequest, closed: ApprovalRequest) -> HttpResponse:
    problem = f"Your decision came too late. {describe_closing(closed)}"
    return _answer(request, closed.pk, status=409, problem=problem)


def _answer(request: HttpRequest, request_id: UUID, *, status: int, problem: str) -> HttpResponse:
    if not _is_script(request):
        return _detail(request, request_id, status=status, problem=problem)
    found = _one(may_view(request), request_id) | {"problem": problem}
    return render(request, "hitl/card.html", {"card": found}, status=status)


def _is_script(request: HttpRequest) -> bool:
    return request.headers.get("X-Requested-With") == "fetch"

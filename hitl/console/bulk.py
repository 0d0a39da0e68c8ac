"""One decision about each of many requests, with what came of each."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from aip.core.text import visible
from hitl import approvals
from hitl.console.base import may_decide, render_page
from hitl.console.cards import cards
from hitl.console.forms import BulkForm, problems
from hitl.console.inbox import CARDS, Filters
from hitl.exceptions import AlreadyClosed, StaleSeal, describe_closing
from hitl.models import ApprovalRequest, Source, Status

NOTHING = "Nothing was decided."


def bulk(request: HttpRequest) -> HttpResponse:
    """Decide what was picked, each by itself: one that is refused keeps no other from being decided."""
    back = Filters(request.GET).at(reverse("inbox"))
    if request.method != "POST":
        return redirect(back)
    user = may_decide(request)
    form = BulkForm(request.POST)
    problem, picks = "", _picks(request.POST.getlist("pick"))
    if not form.is_valid():
        problem = f"{NOTHING} {problems(form)}"
    elif not picks:
        problem = f"{NOTHING} Tick the requests first that you want to decide."
    elif len(picks) > CARDS:
        problem = f"{NOTHING} At most {CARDS} requests can be decided at once."
    results = [] if problem else _decide(user, picks, **form.cleaned_data)
    done = sum(1 for result in results if result["is_done"])
    return render_page(
        request,
        "hitl/bulk.html",
        status=400 if problem else 200,
        title="Decided together",
        problem=problem,
        results=results,
        done=done,
        not_done=len(results) - done,
        back=back,
    )


def _picks(texts: list[str]) -> dict[UUID, str]:
    """The seals that were on the screen, by request; what cannot be read picks nothing."""
    found = {}
    for text in texts:
        pk, _, seal = text.partition(":")
        try:
            found[UUID(pk)] = seal
        except ValueError:
            continue
    return found


def _decide(user: User, picks: dict[UUID, str], *, decision: str, note: str) -> list[dict[str, Any]]:
    shown = cards(user, ApprovalRequest.objects.filter(pk__in=picks).order_by("timeout_at", "id"))
    return [{"card": card} | _decide_one(user, card, picks, Status(decision), note) for card in shown]


def _decide_one(
    user: User, card: dict[str, Any], picks: dict[UUID, str], decision: Status, note: str
) -> dict[str, Any]:
    row = card["request"]
    if decision == Status.APPROVED and card["is_cut"]:
        return _not_decided("It is too long to be read on the inbox. Open it to approve it.")
    if decision == Status.APPROVED and row.destructive:
        return _not_decided("Its tool is marked as destructive. Open it to approve it.")
    if not picks[row.pk]:
        return _not_decided("It does not say which call was on the screen.")
    try:
        decided = approvals.decide(
            row.pk, decision=decision, by=user, source=Source.CONSOLE, note=note, seal=picks[row.pk]
        )
    except AlreadyClosed as e:
        return _not_decided(describe_closing(e.request))
    except StaleSeal as e:
        return _not_decided(visible(str(e)))
    return {"is_done": True, "text": Status(decided.decision).label}


def _not_decided(why: str) -> dict[str, Any]:
    return {"is_done": False, "text": why}

"""An operator's decision about one request: each names the seal that was on the screen, or nothing is decided."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from aip.core.text import visible
from hitl import approvals
from hitl.console.argument_form import fields, read_arguments
from hitl.console.base import is_script, may_decide, may_view
from hitl.console.cards import read_card
from hitl.console.forms import ConsoleForm, ExtensionForm, problems
from hitl.console.inbox import Filters, later_than
from hitl.console.request_page import detail_page, with_original_values
from hitl.exceptions import AlreadyClosed, InvalidDecision, StaleSeal, UnknownRequest, describe_closing
from hitl.models import ApprovalRequest, Source, Status
from hitl.schema_process import Errors
from hitl.seal import Arguments

NEEDS_CONFIRMATION = "This tool is marked as destructive: approving it takes a second press."


def decide(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Decide from the console. What was not decided is answered 400 or 409, with why, and the request as it is now."""
    if request.method != "POST":  # back from the login page
        return redirect("request", request_id)
    found = read_card(may_view(request), request_id)
    if found["is_closed"]:
        return _refused(request, request_id, 409, _too_late(found["request"]))
    user = may_decide(request)
    form = ConsoleForm(request.POST)
    if not form.is_valid():
        return _refused(request, request_id, 400, problems(form))
    cleaned = form.cleaned_data
    decision = Status(cleaned["decision"])
    if decision == Status.APPROVED and found["request"].destructive and not cleaned["sure"]:
        return _refused(request, request_id, 400, NEEDS_CONFIRMATION)
    arguments, errors = _edited(request, request_id) if cleaned["edited"] else (None, {})
    if errors:
        return _show_errors(request, request_id, errors)
    try:
        decided = approvals.decide(
            request_id,
            decision=decision,
            by=user,
            source=Source.CONSOLE,
            note=form.full_note,
            seal=cleaned["seal"],
            arguments=arguments,
            answer=cleaned["answer"] if "answer" in request.POST else None,
            stop_run=cleaned["stop_run"],
        )
    except AlreadyClosed as e:
        return _refused(request, request_id, 409, _too_late(e.request))
    except StaleSeal as e:
        return _refused(request, request_id, 409, str(e))
    except InvalidDecision as e:
        if isinstance(e.errors.get("arguments"), dict):
            return _show_errors(request, request_id, e.errors["arguments"])
        return _refused(request, request_id, 400, str(e))
    return _decided(request, decided.request)


def _edited(request: HttpRequest, request_id: UUID) -> tuple[Arguments, Errors]:
    asked = ApprovalRequest.objects.only("args_schema", "arguments").get(pk=request_id)
    return read_arguments(asked.args_schema, asked.arguments, request.POST)


def _show_errors(request: HttpRequest, request_id: UUID, errors: Errors) -> HttpResponse:
    """The form again, with everything that was typed and the errors of each field."""
    asked = ApprovalRequest.objects.only("args_schema", "arguments", "tool_defaults").get(pk=request_id)
    inputs = fields(asked.args_schema, asked.arguments, request.POST, errors, defaults=asked.tool_defaults)
    known = {field.name for field in inputs}
    others = " ".join(f"{name}: {' '.join(whys)}" for name, whys in errors.items() if name not in known)
    why = f"Nothing was decided. The tool does not take these arguments. {others}".strip()
    pairs = with_original_values(asked, inputs)
    return detail_page(request, request_id, status=400, problem=why, inputs=pairs, is_editing=True)


def _too_late(closed: ApprovalRequest) -> str:
    return f"Your decision came too late. {describe_closing(closed)}"


def _decided(request: HttpRequest, closed: ApprovalRequest) -> HttpResponse:
    """On to the next request of the line that the operator works on."""
    if is_script(request) and "from_inbox" in request.POST:
        found = read_card(may_view(request), closed.pk)
        return render(request, "hitl/card.html", {"card": found, "query": Filters(request.GET).query})
    stopped = " and stopped its run" if "stop_run" in request.POST else ""
    messages.success(request, f"You {closed.outcome} the call of {visible(closed.tool_name)}{stopped}.")
    return _go_to(request, _next(request, closed))


def _next(request: HttpRequest, done: ApprovalRequest) -> str:
    """The address of the next request in the line, or of the inbox for who came from there, or at the line's end."""
    filters = Filters(request.GET)
    line = filters.requests().only("pk")
    following = later_than(line, done.timeout_at, done.pk).first() or line.first()
    if following is None or "from_inbox" in request.POST:
        address = reverse("inbox")
    else:
        address = reverse("request", args=[following.pk])
    return filters.at(address)


def _go_to(request: HttpRequest, address: str) -> HttpResponse:
    """Scripts navigate themselves: `fetch` following the redirect would consume the flash message."""
    if is_script(request):
        return HttpResponse(status=204, headers={"X-Next": address})
    return redirect(address)


def _refused(request: HttpRequest, request_id: UUID, status: int, why: str) -> HttpResponse:
    problem = why if status == 409 else f"Nothing was decided. {why}"
    if is_script(request) and "from_inbox" in request.POST:
        found = read_card(may_view(request), request_id) | {"problem": problem}
        return render(request, "hitl/card.html", {"card": found, "query": Filters(request.GET).query}, status=status)
    return detail_page(request, request_id, status=status, problem=problem)


def extend(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Give a request more time, and show it again."""
    if request.method != "POST":
        return redirect("request", request_id)
    user = may_decide(request)
    form = ExtensionForm(request.POST)
    try:
        if not form.is_valid():
            return _refused(request, request_id, 400, problems(form))
        extended = approvals.extend(request_id, seconds=form.cleaned_data["seconds"], by=user, source=Source.CONSOLE)
    except UnknownRequest:
        read_card(user, request_id)
        raise
    except AlreadyClosed as e:
        return _refused(request, request_id, 409, _too_late(e.request))
    except InvalidDecision as e:
        return _refused(request, request_id, 400, str(e))
    messages.success(request, f"It waits until {extended.timeout_at:%Y-%m-%d %H:%M:%S} UTC.")
    return _go_to(request, Filters(request.GET).at(reverse("request", args=[request_id])))

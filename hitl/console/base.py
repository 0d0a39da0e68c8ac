"""What the operator's pages have in common: who may see them, their frame, and where `/admin/` leads.

Plain pages and forms, in the admin's theme. The scripts beside them (`static/hitl/`) only fetch the same HTML again.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe

VIEW = "hitl.view_approvalrequest"
DECIDE = "hitl.decide_approvalrequest"
MAY_ONLY_LOOK = "You may look, but not decide. Ask an administrator for the group 'operators'."


def may_view(request: HttpRequest) -> User:
    """The operator who asks. Raises PermissionDenied."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm(VIEW):
        raise PermissionDenied("You may not see approval requests. Ask an administrator for the group 'operators'.")
    return user


def may_decide(request: HttpRequest) -> User:
    """The operator who acts. Raises PermissionDenied."""
    user = may_view(request)
    if not user.has_perm(DECIDE):
        raise PermissionDenied(MAY_ONLY_LOOK)
    return user


def is_script(request: HttpRequest) -> bool:
    return request.headers.get("X-Requested-With") == "fetch"


def render_page(request: HttpRequest, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
    """A whole page; for our script, which refreshes an open one, only its content.

    The frame consumes flash messages; a background refresh must not.
    """
    if is_script(request):
        frame = {"frame": "hitl/part.html"}
    else:
        frame = {"frame": "hitl/base.html", **admin.site.each_context(request)}
    answer = render(request, template, {**frame, **context}, status=status)
    add_never_cache_headers(answer)  # one URL has two representations, and a cached page would be stale
    return answer


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """The admin's first page: the inbox, for those who may see it."""
    if request.user.has_perm(VIEW):
        return redirect("inbox")
    return admin.site.index(request)

"""The console's pages, below the admin's address: for staff alone, others get the login page."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, path

from hitl.console import base, bulk, decide, inbox, request_page


def page(route: str, view: Callable[..., Any], name: str) -> URLPattern:
    return path(route, admin.site.admin_view(view), name=name)


urlpatterns = [
    page("", base.landing, "landing"),
    page("inbox/", inbox.inbox, "inbox"),
    page("inbox/bulk/", bulk.bulk, "bulk"),
    page("inbox/<uuid:request_id>/", request_page.detail, "request"),
    page("inbox/<uuid:request_id>/card/", inbox.card, "card"),
    page("inbox/<uuid:request_id>/decide/", decide.decide, "decide"),
    page("inbox/<uuid:request_id>/extend/", decide.extend, "extend_request"),
]

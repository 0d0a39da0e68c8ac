"""The console's pages, below the admin's address: for staff alone, others get the login page."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, path

from hitl.console import base, bulk, decide, inbox, request_page


def console_path(route: str, view: Callable[..., Any], name: str) -> URLPattern:
    return path(route, admin.site.admin_view(view), name=name)


urlpatterns = [
    console_path("", base.landing, "landing"),
    console_path("inbox/", inbox.inbox, "inbox"),
    console_path("inbox/bulk/", bulk.bulk, "bulk"),
    console_path("inbox/<uuid:request_id>/", request_page.detail, "request"),
    console_path("inbox/<uuid:request_id>/card/", inbox.card, "card"),
    console_path("inbox/<uuid:request_id>/decide/", decide.decide, "decide"),
    console_path("inbox/<uuid:request_id>/extend/", decide.extend, "extend_request"),
]

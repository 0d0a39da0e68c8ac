"""The console's pages, below the admin's address: for staff alone, others get the login page."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, path

from hitl import console


def page(route: str, view: Callable[..., Any], name: str) -> URLPattern:
    return path(route, admin.site.admin_view(view), name=name)


urlpatterns = [
    page("", console.landing, "landing"),
    page("inbox/", console.inbox, "inbox"),
    page("inbox/<uuid:request_id>/", console.detail, "request"),
    page("inbox/<uuid:request_id>/card/", console.card, "card"),
    page("inbox/<uuid:request_id>/decide/", console.decide, "decide"),
    page("inbox/<uuid:request_id>/extend/", console.extend, "extend_request"),
]

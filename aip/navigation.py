"""The admin's menu."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse


def navigation(_request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, in unfold's words; a line is shown to those who may open it."""

    def line(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
        return {
            "title": title,
            "icon": icon,
            "link": reverse(f"admin:{app}_{model}_changelist"),
            "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
        }

    inbox = line("Inbox", "front_hand", "hitl", "approvalrequest") | {"link": reverse("inbox")}
    agents = [
        line("Agents", "smart_toy", "agents", "agent"),
        line("Tools", "build", "agents", "tool"),
        line("Runs", "play_circle", "agents", "run"),
    ]
    people = [line("Users", "person", "auth", "user"), line("Groups", "group", "auth", "group")]
    return [
        {"title": "Approvals", "items": [inbox, line("History", "history", "hitl", "approvalrequest")]},
        {"title": "Agents", "items": agents},
        {"title": "People", "items": people},
    ]

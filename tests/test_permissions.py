"""Each endpoint needs a permission of its own: looking at agents, tools and runs is not changing or deleting them."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client

from agents.catalog import agents as agent_catalog
from agents.models import Run
from aip.core.users import MASTER
from tests.test_statements import upload

pytestmark = pytest.mark.django_db

NEEDED = [
    ("GET", "/agents/", "view_agent"),
    ("POST", "/agents/", "add_agent"),
    ("GET", "/agents/{agent}", "view_agent"),
    ("PUT", "/agents/{agent}", "change_agent"),
    ("PATCH", "/agents/{agent}", "change_agent"),
    ("DELETE", "/agents/{agent}", "delete_agent"),
    ("POST", "/agents/{agent}/restore", "delete_agent"),
    ("GET", "/agents/{agent}/runs", "view_run"),
    ("GET", "/agents/{agent}/runs/{run}", "view_run"),
    ("GET", "/tools/", "view_tool"),
    ("GET", "/tools/{tool}", "view_tool"),
    ("PUT", "/tools/{tool}", "change_tool"),
    ("PUT", "/tools/{tool}/upload", "change_tool"),
    ("GET", "/tools/{tool}/script", "view_tool"),
    ("DELETE", "/tools/{tool}", "delete_tool"),
]


@pytest.mark.parametrize(("method", "path", "needed"), NEEDED)
def test_it_is_403_without_its_permission_and_that_one_is_enough(method: str, path: str, needed: str) -> None:
    tool = upload(1)
    agent = agent_catalog.create(name="agent", tools=[tool])
    run = Run.objects.create(agent=agent, input="x", spec={})
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    master = User.objects.get(username=MASTER)
    master.is_superuser = False
    master.save(update_fields=["is_superuser"])

    def answer() -> Any:
        url = path.format(agent=agent.pk, tool=tool.pk, run=run.pk)
        return client.generic(method, url, b'{"name": "x"}', content_type="application/json")

    master.user_permissions.set(Permission.objects.exclude(codename=needed))
    refused = answer()
    assert (refused.status_code, refused.json()["success"]) == (403, False)
    master.user_permissions.set(Permission.objects.filter(codename=needed))
    assert answer().status_code in (200, 201, 204, 415)  # that a form is wanted is said to those who may


@pytest.mark.parametrize(("method", "path"), [("POST", "/agents/x/run"), ("GET", "/agents/x/runs/y/stream")])
def test_django_alone_says_that_it_serves_no_event_stream(method: str, path: str) -> None:
    assert Client().generic(method, path).status_code == 401
    answer = Client(headers={"X-API-Key": settings.MASTER_API_KEY}).generic(method, path)
    assert answer.status_code == 503
    assert "ASGI application" in answer.json()["message"]

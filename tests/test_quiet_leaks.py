"""What leaves the server without anybody meaning it: to third parties, into logs, caches, spreadsheets and streams."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from agents.api.subscription import subscribe
from agents.runs.events import MAX_TOKEN_CHARACTERS
from aip import checks
from aip.core.text import look_alikes
from tests.live import CHECKOUT, Live

SETUP = """
import logging, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "aip.settings"
import django
django.setup()
"""
SECRETS = {"AIP_MASTER_API_KEY": "the-master-key", "DJANGO_SECRET_KEY": "the-key-of-sessions"}


def said_by(program: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SETUP + program, *arguments],
        cwd=CHECKOUT,
        env={"PATH": os.defpath, "AIP_DATA_DIR": "/nonexistent", **SECRETS, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


TRACED = {"LANGSMITH_TRACING": "true", "LANGCHAIN_TRACING_V2": "true", "LANGSMITH_API_KEY": "a-key-of-langsmith"}
IS_TRACED = "from langsmith.utils import tracing_is_enabled; print(bool(tracing_is_enabled()))"


@pytest.mark.parametrize(("meant", "traced"), [("", "False"), ("langsmith", "True")])
def test_runs_are_sent_to_a_third_party_only_where_the_server_says_so(meant: str, traced: str) -> None:
    assert said_by(IS_TRACED, **TRACED, AIP_TRACING=meant).stdout.strip() == traced


def test_what_is_ignored_for_that_is_named(settings: Any) -> None:
    settings.UNSET_VARIABLES = ["LANGSMITH_TRACING"]
    (warning,) = checks.tracing_is_meant(None)
    assert "LANGSMITH_TRACING" in warning.msg
    settings.UNSET_VARIABLES, settings.TRACING = [], "langfuse"
    (error,) = checks.tracing_is_meant(None)
    assert "'langfuse'" in error.msg


LOG = "logging.getLogger('test').error('model %s', sys.argv[1])\n"
RAISE = """
try:
    raise ValueError(sys.argv[1])
except ValueError:
    logging.getLogger("test").exception("it failed")
"""
FORGED = "m\n2026-01-01 00:00:00,000 INFO hitl: hitl_decision decision=approved\r\x1b[2J\u2028x"


def test_a_value_with_a_line_break_is_one_line_of_the_log() -> None:
    (line,) = said_by(LOG, FORGED).stderr.splitlines()
    assert "model m\\n2026-01-01 00:00:00,000 INFO hitl" in line
    assert "\x1b" not in line


def test_an_error_with_a_line_break_forges_no_line_of_the_log() -> None:
    first, *rest = said_by(RAISE, FORGED).stderr.splitlines()
    assert first.endswith("test: it failed")
    assert all(line.startswith("    ") for line in rest)
    assert any("2026-01-01" in line for line in rest)


@pytest.mark.django_db
def test_nothing_between_keeps_an_answer_or_a_page(admin_client: Client) -> None:
    api = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    for answer in (api.get("/agents/"), api.get("/nothing"), admin_client.get("/admin/inbox/"), api.get("/docs/")):
        assert "no-store" in answer.headers["Cache-Control"]


def test_who_can_publish_to_redis_writes_no_event_of_a_run() -> None:
    forged = {"type": "run.said", "event": {"metadata": {"hitl": {"decision": "approved"}}}, "text": "x" * 500_000}

    async def received() -> list[dict[str, Any]]:
        with subscribe("run.forged") as subscription:
            await asyncio.wait_for(subscription.is_ready.wait(), 10)  # it listens
            subscription.get()
            await get_channel_layer().group_send("run.forged", forged)
            await asyncio.wait_for(subscription.is_ready.wait(), 10)
            return subscription.get()[0]

    (piece,) = asyncio.run(received())
    assert piece["content"] == "x" * MAX_TOKEN_CHARACTERS
    assert piece["metadata"] == {"kind": "token"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Pay to pаypal.com and раypal", ["pаypal", "раypal"]),  # noqa: RUF001
        ("Платёж для Steel AG, Ελλάδα, 東京, naïve café", []),
        ("Steel AG", []),
        (f"{'а' * 100_000}b", ["а" * 100]),  # noqa: RUF001
    ],
)
def test_letters_that_look_alike_are_found_within_one_word(text: str, found: list[str]) -> None:
    assert look_alikes(text) == found


def test_a_prefix_of_addresses_from_outside_is_dropped(server: Live) -> None:
    answer = server.client.get("/admin/", headers={"Daphne-Root-Path": "/evil.example.com"})
    assert answer.status_code == 302
    assert "evil" not in str(answer.headers)


@pytest.fixture
def manager(client: Client) -> Client:
    """May change users and groups, and view agents; no more."""
    user = User.objects.create_user("mara", is_staff=True)
    names = ("add_user", "change_user", "view_user", "delete_user", "change_group", "view_group", "view_agent")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def deciders() -> Group:
    """As the group that each installation has, and that the tests before may have emptied the database of."""
    group, _ = Group.objects.get_or_create(name="operators")
    group.permissions.add(Permission.objects.get(codename="decide_approvalrequest"))
    return group


def form_of(user: User, **more: Any) -> dict[str, Any]:
    fields = {"username": user.username, "is_active": "on", "is_staff": "on", "date_joined_0": "2026-01-01"}
    return fields | {"date_joined_1": "00:00:00"} | more


@pytest.mark.django_db
def test_who_may_change_users_gives_nobody_more_rights_than_their_own(manager: Client) -> None:
    olga = User.objects.create_user("olga", is_staff=True)
    decide = Permission.objects.get(codename="decide_approvalrequest")
    view = Permission.objects.get(codename="view_agent")
    url = f"/admin/auth/user/{olga.pk}/change/"
    manager.post(url, form_of(olga, is_superuser="on"))
    olga.refresh_from_db()
    assert not olga.is_superuser
    for more in ({"user_permissions": [decide.pk]}, {"groups": [deciders().pk]}):
        answer = manager.post(url, form_of(olga, **more))
        assert answer.status_code == 200  # the form, with an error: it is no valid choice
        assert olga.get_all_permissions() == set()
    assert manager.post(url, form_of(olga, user_permissions=[view.pk])).status_code == 302
    assert User.objects.get(pk=olga.pk).get_all_permissions() == {"agents.view_agent"}


@pytest.mark.django_db
def test_who_may_change_users_takes_over_nobody_with_more_rights(manager: Client, admin_user: User) -> None:
    decider = User.objects.create_user("dora", is_staff=True)
    decider.groups.add(deciders())
    for other in (admin_user, decider):
        password = {"password1": "a-long-new-pass1", "password2": "a-long-new-pass1"}
        assert manager.post(f"/admin/auth/user/{other.pk}/password/", password).status_code == 403
        assert manager.post(f"/admin/auth/user/{other.pk}/change/", form_of(other)).status_code == 403
        assert manager.post(f"/admin/auth/user/{other.pk}/delete/", {"post": "yes"}).status_code == 403
    operators = deciders()
    change = manager.post(f"/admin/auth/group/{operators.pk}/change/", {"name": "operators", "permissions": []})
    assert change.status_code == 403

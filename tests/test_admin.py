"""The admin shows; nothing is added, changed or deleted there."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agents.catalog import tools as tool_catalog
from agents.models import Agent, AgentTool, Run, RunEvent, RunFile, Tool, ToolVersion
from hitl import approvals
from hitl.models import ApprovalRequest, Source, Status
from tests.hitl.calls import open_one

pytestmark = pytest.mark.django_db
LISTS = ["agents_agent", "agents_tool", "agents_run", "agents_runevent", "hitl_approvalrequest"]
HOSTILE = "<script>alert(1)</script>\u202e\u200b\x1b[31m"


def make_rows(number: int) -> None:
    """Agents with a tool, a run, an event and a decided request each; all texts try to do harm."""
    operator = User.objects.get_or_create(username="decider")[0]
    for _ in range(number):
        version = ToolVersion.objects.create(
            digest="0" * 64,
            file_name=HOSTILE,
            source=HOSTILE,
            class_name="X",
            tool_name="x",
            description=HOSTILE,
            args_schema={},
        )
        tool = Tool.objects.create(name=f"{HOSTILE}{uuid.uuid4()}", current=version, description=HOSTILE)
        agent = Agent.objects.create(name=HOSTILE, instruction=HOSTILE)
        AgentTool.objects.create(agent=agent, tool=tool, position=0)
        run = Run.objects.create(agent=agent, input=HOSTILE, spec={"instruction": HOSTILE})
        RunFile.objects.create(
            run=run, position=0, name=HOSTILE, content_type=HOSTILE, size=7, is_text=True, content=b"content"
        )
        payload = {"content": HOSTILE, "metadata": {"kind": "content", "tool_info": {"name": HOSTILE}}}
        RunEvent.objects.create(run=run, seq=1, key="1", payload=payload)
        request = open_one(run_id=run.pk, agent_id=agent.pk, tool_id=tool.pk, arguments={HOSTILE: HOSTILE})
        approvals.decide(request.pk, decision=Status.REJECTED, by=operator, source=Source.API, note=HOSTILE)


@pytest.fixture
def viewer(client: Client) -> Client:
    """Staff who may view everything and nothing more."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def pages() -> list[str]:
    rows: list[Any] = [m.objects.first() for m in (Agent, Tool, Run, RunEvent, ApprovalRequest)]
    changes = [reverse(f"admin:{name}_change", args=[row.pk]) for name, row in zip(LISTS, rows, strict=True)]
    return [reverse(f"admin:{name}_changelist") for name in LISTS] + changes


def test_those_who_may_view_see_every_page_and_no_harm_is_done(viewer: Client) -> None:
    make_rows(2)
    for url in pages():
        answer = viewer.get(url)
        text = answer.content.decode()
        assert answer.status_code == 200, url
        assert "<script>alert" not in text
        assert not set("\u202e\u200b\x1b") & set(text)


def test_the_superuser_changes_nothing_either(admin_client: Client) -> None:
    make_rows(1)
    for name in LISTS:
        assert admin_client.get(reverse(f"admin:{name}_add")).status_code == 403
    for url in pages()[len(LISTS) :]:
        assert admin_client.post(url, {"name": "changed"}).status_code == 403
        assert admin_client.post(url.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert Agent.objects.count() == Tool.objects.filter(is_native=False).count() == Run.objects.count() == 1


def test_a_stranger_gets_the_login_page_and_staff_without_permission_a_refusal(client: Client) -> None:
    make_rows(1)
    for url in pages():
        assert client.get(url).headers["Location"].startswith("/admin/login/")
    client.force_login(User.objects.create_user("staff", is_staff=True))
    for url in pages():
        assert client.get(url).status_code == 403


@pytest.mark.parametrize(
    "query", ["?q=0123abcd", "?q=x%00", "?status__exact=pending", "?tool_name=%27", "?agent_id=no"]
)
def test_searches_and_filters_never_break(viewer: Client, query: str) -> None:
    make_rows(1)
    for name in LISTS:
        assert viewer.get(reverse(f"admin:{name}_changelist") + query, follow=True).status_code == 200


def test_a_filter_with_a_nul_is_refused(viewer: Client) -> None:
    for name in LISTS:
        assert viewer.get(reverse(f"admin:{name}_changelist") + "?status__exact=%00").status_code == 400


@pytest.mark.parametrize("name", LISTS)
def test_a_list_costs_as_many_statements_for_thirty_rows_as_for_three(viewer: Client, name: str) -> None:
    url = reverse(f"admin:{name}_changelist")

    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert viewer.get(url).status_code == 200
        return len(queries)

    make_rows(3)
    statements()
    few = statements()
    make_rows(27)
    assert statements() == few


def test_a_run_of_many_events_is_shown_in_part(viewer: Client) -> None:
    make_rows(1)
    run = Run.objects.get()
    RunEvent.objects.bulk_create(
        RunEvent(run=run, seq=n, key=str(n), payload={"content": "x", "metadata": {}}) for n in range(2, 1001)
    )
    assert "of 1,000 events" in viewer.get(reverse("admin:agents_run_change", args=[run.pk])).content.decode()


def test_a_runs_page_names_the_files_that_came_with_it(viewer: Client) -> None:
    make_rows(1)
    text = viewer.get(reverse("admin:agents_run_change", args=[Run.objects.get().pk])).text
    assert "7 bytes" in text
    assert "as text" in text


def test_a_deleted_tool_is_shown_as_deleted_and_no_more_at_its_agents(viewer: Client) -> None:
    make_rows(1)
    agent, tool = Agent.objects.get(), Tool.objects.get(is_native=False)
    Tool.objects.filter(pk=tool.pk).update(name="the tool")
    agents = [reverse("admin:agents_agent_changelist"), reverse("admin:agents_agent_change", args=[agent.pk])]
    assert all("the tool" in viewer.get(url).text for url in agents)
    tool_catalog.delete(str(tool.pk))
    assert not any("the tool" in viewer.get(url).text for url in agents)
    assert "deleted" in viewer.get(reverse("admin:agents_tool_change", args=[tool.pk])).text


def cancel_of(run: Run) -> str:
    return reverse("admin:agents_run_cancel", args=[run.pk])


def test_a_run_is_cancelled_by_its_button_once_and_only_by_who_may(viewer: Client, admin_client: Client) -> None:
    make_rows(1)
    run = Run.objects.get()
    page = reverse("admin:agents_run_change", args=[run.pk])
    assert cancel_of(run) not in viewer.get(page).text
    assert viewer.post(cancel_of(run)).status_code == 403
    assert admin_client.get(cancel_of(run)).status_code == 405
    assert f'action="{cancel_of(run)}"' in admin_client.get(page).text
    assert "The run was cancelled." in admin_client.post(cancel_of(run), follow=True).text
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert cancel_of(run) not in admin_client.get(page).text
    again = admin_client.post(cancel_of(run), follow=True)
    assert "This run has ended already. It was cancelled at " in again.text
    assert admin_client.post(reverse("admin:agents_run_cancel", args=[uuid.uuid4()])).status_code == 404


def test_a_tools_gate_is_set_by_its_button_and_only_by_who_may_change_it(viewer: Client, admin_client: Client) -> None:
    make_rows(1)
    tool = Tool.objects.get(is_native=False)
    page = reverse("admin:agents_tool_change", args=[tool.pk])
    url = reverse("admin:agents_tool_gate", args=[tool.pk])
    assert url not in viewer.get(page).text
    assert viewer.post(url, {"gate": "ask"}).status_code == 403
    assert admin_client.get(url).status_code == 405
    for gate, words in [("ask", "always"), ("agent", "as its agent says")]:
        assert f'value="{gate}"' in admin_client.get(page).text
        assert f"wait for a person {words}." in admin_client.post(url, {"gate": gate}, follow=True).text
        tool.refresh_from_db()
        assert tool.gate == gate
    assert admin_client.post(url, {"gate": "no"}).status_code == 400
    tool_catalog.delete(str(tool.pk))
    assert url not in admin_client.get(page).text


def test_a_cancellation_needs_the_forms_token() -> None:
    make_rows(1)
    User.objects.create_superuser("root", password="x")
    strict = Client(enforce_csrf_checks=True)
    strict.login(username="root", password="x")
    assert strict.post(cancel_of(Run.objects.get())).status_code == 403

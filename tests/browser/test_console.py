"""The operator's screen, in a real browser, against a really running server."""

import re
import uuid
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.asking import ask, card, make_agent, open_request
from tests.browser.conftest import PASSWORD, Login, make_people
from tests.listener import Listener
from tests.live import Live, Stream
from tests.model_server import ModelServer, calls, says, tool_call, tool_results

HOSTILE = "<script>document.title='owned'</script><b>bold</b>\u202egnp.exe\u200b\x1b[31mred"


@pytest.fixture(scope="module")
def agent(people: Live, reporter: dict[str, Any], world: Listener) -> str:
    return make_agent(people, reporter, world)


def test_two_consoles_see_a_request_and_who_decided_it_without_reload(
    people: Live, reporter: dict[str, Any], world: Listener, models: ModelServer, login: Login
) -> None:
    text = f"offer {uuid.uuid4()}"
    models.scripts["console"] = lambda body: (
        says("All done.") if tool_results(body) else calls(tool_call("reporter", {"text": text}, "call_1"))
    )
    agent = people.create_agent(
        name="recruiter",
        tools=[reporter["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": "console"},
        tool_configs={reporter["id"]: {"hitl": {"timeout_seconds": 180}, "listener": world.url}},
    )
    omar, olga = login(people, "omar"), login(people, "olga")
    for page in (omar, olga):
        page.evaluate("window.sameDocument = true")
    stream, request_id = ask(people, agent)
    for page in (omar, olga):
        expect(card(page, request_id)).to_contain_text(text, timeout=1000)
    card(omar, request_id).get_by_role("link", name="Open").click()
    omar.get_by_label("Your words to the agent, with").fill("Use the friendly template")
    omar.get_by_role("button", name="Approve", exact=True).click()
    expect(card(olga, request_id)).to_contain_text("Approved by omar in the console", timeout=1000)
    expect(card(olga, request_id)).to_contain_text("Use the friendly template")
    expect(card(olga, request_id).get_by_role("button")).to_have_count(0)
    expect(omar.get_by_text("You approved the call of reporter")).to_be_visible()
    assert stream.finish()["content"] == "All done."
    assert world.count(text) == 1
    assert "Use the friendly template" in tool_results(models.sent_to("console")[-1])[0]
    assert olga.evaluate("window.sameDocument")


def test_a_request_decided_by_rest_and_one_that_times_out_change_in_place(
    people: Live, agent: str, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    page = login(people, "omar")
    stream, by_rest = ask(people, agent)
    quick, timed_out = ask(people, make_agent(people, reporter, world, seconds=3))
    expect(card(page, timed_out)).to_be_visible()
    order = page.locator("#aip-waiting .aip-card[data-status=pending]").evaluate_all(
        "cards => cards.map(c => c.dataset.id)"
    )
    assert order.index(timed_out) < order.index(by_rest)
    expect(card(page, timed_out).locator(".aip-clock")).to_have_text(re.compile(r"^[12] s$"))
    people.decide(by_rest, "rejected", "not today")
    expect(card(page, by_rest)).to_contain_text("Rejected by master over the API", timeout=1000)
    expect(card(page, by_rest)).to_contain_text("not today")
    expect(card(page, timed_out)).to_contain_text("Nobody decided in time", timeout=5000)
    stream.finish()
    quick.finish()


def test_a_second_decision_is_told_who_was_faster(people: Live, agent: str, login: Login) -> None:
    page = login(people, "olga", java_script_enabled=False)
    stream, request_id = ask(people, agent)
    page.goto(f"{people.url}/admin/inbox/{request_id}/")
    people.decide(request_id, "skipped")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("too late")
    expect(page.get_by_role("alert")).to_contain_text("already skipped by master")
    stream.finish()
    assert people.rows("SELECT decision FROM hitl_decision WHERE request_id = %s", request_id) == [("skipped",)]


def test_an_open_request_page_follows_its_request_to_the_end(people: Live, agent: str, login: Login) -> None:
    page = login(people, "olga")
    stream, request_id = ask(people, agent)
    page.goto(f"{people.url}/admin/inbox/{request_id}/")
    expect(page.locator("#aip-banner")).to_be_hidden()
    people.decide(request_id, "approved")
    expect(page.locator(".aip-what")).to_contain_text("Approved by master", timeout=2000)
    expect(page.locator(".aip-what")).to_contain_text("reported please act", timeout=5000)
    stream.finish()


def test_who_may_only_look_sees_no_buttons_and_cannot_forge_a_decision(people: Live, agent: str, login: Login) -> None:
    page = login(people, "looker")
    stream, request_id = ask(people, agent)
    expect(card(page, request_id)).to_be_visible()
    expect(page.locator(".aip-decide")).to_have_count(0)
    page.goto(f"{people.url}/admin/inbox/{request_id}/")
    expect(page.locator(".aip-decide")).to_have_count(0)
    token = next(c["value"] for c in page.context.cookies() if c["name"] == "csrftoken")
    forged = page.request.post(
        f"{people.url}/admin/inbox/{request_id}/decide/", form={"decision": "approved", "csrfmiddlewaretoken": token}
    )
    assert forged.status == 403
    assert "may look, but not decide" in forged.text()
    assert request_id in [request["request_id"] for request in people.pending()]
    people.decide(request_id, "skipped")
    stream.finish()


def test_a_stranger_gets_the_login_page_and_the_socket_refuses_him(people: Live, chromium: Any, login: Login) -> None:
    context = chromium.new_context()
    page = context.new_page()
    for path in ("/admin/", "/admin/inbox/", f"/admin/inbox/{uuid.uuid4()}/", f"/admin/inbox/{uuid.uuid4()}/card/"):
        page.goto(people.url + path)
        assert "/admin/login/" in page.url
    listen = """url => new Promise(done => {
        const socket = new WebSocket(url);
        socket.onopen = () => done("open");
        socket.onclose = () => done("refused");
    })"""
    socket = people.url.replace("http", "ws") + "/admin/inbox/socket"
    assert page.evaluate(listen, socket) == "refused"
    # Logged in, but from another site's page: the origin is checked.
    insider = login(people, "omar")
    assert insider.evaluate(listen, socket) == "open"
    insider.route("http://elsewhere.example/", lambda route: route.fulfill(body="<title>elsewhere</title>"))
    insider.goto("http://elsewhere.example/")
    assert insider.evaluate(listen, socket) == "refused"
    context.close()


def test_an_expired_session_and_an_unknown_request_are_said_plainly(people: Live, agent: str, login: Login) -> None:
    page = login(people, "omar", java_script_enabled=False)
    stream, request_id = ask(people, agent)
    page.goto(f"{people.url}/admin/inbox/{request_id}/")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Approve", exact=True).click()
    assert "/admin/login/" in page.url
    page.fill("[name=username]", "omar")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(f"**/admin/inbox/{request_id}/")
    assert request_id in [request["request_id"] for request in people.pending()]
    page.goto(f"{people.url}/admin/inbox/{uuid.uuid4()}/")
    expect(page.get_by_role("heading", name="Not there")).to_be_visible()
    people.decide(request_id, "skipped")
    stream.finish()


def test_a_decision_whose_token_a_login_in_another_tab_made_old_loses_nothing_that_was_typed(
    people: Live, agent: str, login: Login
) -> None:
    page = login(people, "omar")
    stream, request_id = ask(people, agent)
    open_request(page, people, request_id)
    note = page.get_by_label("Your words to the agent, with")
    note.fill("half an hour's work")
    other = page.context.new_page()
    page.context.clear_cookies(name="sessionid")
    other.goto(f"{people.url}/admin/")
    other.fill("[name=username]", "omar")
    other.fill("[name=password]", PASSWORD)
    other.click("[type=submit]")
    other.wait_for_url("**/admin/inbox/")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("#aip-decide .aip-problem")).to_contain_text("Not decided")
    expect(note).to_have_value("half an hour's work")
    assert request_id in [request["request_id"] for request in people.pending()]
    people.decide(request_id, "skipped")
    stream.finish()


def test_a_click_never_hits_a_request_that_came_in_under_the_pointer(
    people: Live, agent: str, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    page = login(people, "omar")
    first, aimed = ask(people, agent)
    button = card(page, aimed).get_by_role("button", name="Approve")
    button.hover()
    box = button.bounding_box()
    assert box is not None
    urgent = make_agent(people, reporter, world, seconds=60)
    second = people.run(urgent, "came in between")
    came = second.await_pending()[0]["hitl"]["request_id"]
    expect(card(page, came)).to_be_visible(timeout=2000)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert came in [request["request_id"] for request in people.pending()]
    expect(card(page, came)).to_have_attribute("data-status", "pending")
    people.decide(aimed, "skipped")
    people.decide(came, "skipped")
    first.finish()
    second.finish()


def test_what_cannot_be_read_whole_on_the_inbox_cannot_be_approved_there(
    people: Live, agent: str, login: Login
) -> None:
    page = login(people, "omar")
    stream, request_id = ask(people, agent, "long " * 300)
    expect(card(page, request_id).get_by_role("button", name="Skip")).to_be_visible()
    expect(card(page, request_id).get_by_role("button", name="Approve")).to_have_count(0)
    card(page, request_id).get_by_role("link", name="to read all of it").click()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("You approved the call of reporter")).to_be_visible()
    stream.finish()


def test_a_double_click_decides_once(people: Live, agent: str, login: Login) -> None:
    page = login(people, "omar")
    stream, request_id = ask(people, agent)
    card(page, request_id).get_by_role("button", name="Skip").dblclick()
    expect(card(page, request_id)).to_contain_text("Skipped by omar")
    stream.finish()
    assert people.rows("SELECT count(*) FROM hitl_decision WHERE request_id = %s", request_id) == [(1,)]


@pytest.mark.parametrize("text", [HOSTILE, "x" * 1_000_000, "\n" * 2000], ids=["markup", "a megabyte", "lines"])
def test_hostile_arguments_are_shown_harmlessly(people: Live, agent: str, login: Login, text: str) -> None:
    page = login(people, "omar")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    stream, request_id = ask(people, agent, text)
    expect(card(page, request_id)).to_be_visible()
    page.goto(f"{people.url}/admin/inbox/{request_id}/")
    arguments = page.locator(".aip-what .aip-text").first
    shown = arguments.inner_text()
    if text == HOSTILE:
        assert "<script>document.title='owned'</script><b>bold</b>\\u202egnp.exe\\u200b\\u001b[31mred" in shown
    assert page.title() != "owned"
    assert arguments.locator("b, script").count() == 0
    assert problems == []
    people.decide(request_id, "skipped")
    stream.finish()


def test_what_is_selected_or_typed_survives_what_happens_to_others(people: Live, agent: str, login: Login) -> None:
    page, reader = login(people, "omar"), login(people, "olga")
    first, kept = ask(people, agent)
    card(page, kept).get_by_role("checkbox").check()
    open_request(reader, people, kept)
    reader.get_by_label("Your words to the agent, with").fill("half a thou")
    second, other = ask(people, agent)
    card(page, other).get_by_role("button", name="Skip").click()
    expect(card(page, other)).to_contain_text("Skipped by omar")
    expect(card(page, kept).get_by_role("checkbox")).to_be_checked()
    expect(page.locator("#aip-picked")).to_have_text("1")
    extended = people.client.post(f"/agents/hitl/requests/{kept}/extend", json={"seconds": 3600})
    assert extended.status_code == 200
    expect(reader.locator(".aip-clock")).to_have_text(re.compile("^1 h "), timeout=2000)
    expect(reader.get_by_label("Your words to the agent, with")).to_have_value("half a thou")
    people.decide(kept, "skipped")
    first.finish()
    second.finish()


def test_more_than_a_page_of_requests_is_counted_rightly_while_they_come_and_go(
    people: Live, models: ModelServer, login: Login
) -> None:
    tools = [people.upload(MANY % (i, i), name=f"many_{i}")["id"] for i in range(11)]
    agent = people.create_agent(
        name="busy",
        tools=tools,
        agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
        tool_configs={tool: {"hitl": {"timeout_seconds": 170}} for tool in tools},
    )
    others = len(people.pending())
    streams = [people.run(agent, f"{i}") for i in range(10)]
    requests = [p["hitl"]["request_id"] for stream in streams for p in stream.await_pending(11)]
    page = login(people, "omar")
    count = page.locator("#aip-total")
    expect(count).to_have_text(str(others + 110))
    expect(page.locator("#aip-waiting .aip-card")).to_have_count(25)
    for request_id in requests[:3]:
        people.decide(request_id, "skipped")
    expect(count).to_have_text(str(others + 107), timeout=3000)
    for request_id in requests[3:]:
        people.decide(request_id, "skipped")
    expect(count).to_have_text(str(others), timeout=10_000)
    for stream in streams:
        stream.finish()


def test_what_sooner_ones_push_off_the_page_leaves_it_and_is_not_asked_for_again(people: Live, login: Login) -> None:
    tools = [people.upload(MANY % (i, i), name=f"crowd_{i}")["id"] for i in range(13)]
    name = f"crowd {uuid.uuid4()}"

    def ask_for(tools: list[str], seconds: float) -> tuple[Stream, list[str]]:
        agent = people.create_agent(
            name=name,
            tools=tools,
            agent_config={"hitl_enabled": True, "lm_provider": "rehearsal", "lm_name": "default"},
            tool_configs={tool: {"hitl": {"timeout_seconds": seconds}} for tool in tools},
        )
        stream = people.run(agent, "please act")
        return stream, [pending["hitl"]["request_id"] for pending in stream.await_pending(len(tools))]

    crowd = [ask_for(tools, 175) for _ in range(2)]
    page = login(people, "omar")
    page.goto(f"{people.url}/admin/inbox/?agent={name}")
    cards = page.locator('#aip-waiting [data-status="pending"]')
    expect(cards).to_have_count(25)
    kept = card(page, cards.last.get_attribute("data-id") or "")
    kept.get_by_role("checkbox").check()
    page.get_by_role("heading", level=1).or_(page.locator("#aip-total")).first.hover()
    urgent = ask_for(tools[:3], 60)
    for request_id in urgent[1]:
        expect(card(page, request_id)).to_be_visible(timeout=3000)
    expect(cards).to_have_count(26)  # what is selected stays
    expect(kept).to_be_visible()
    kept.get_by_role("checkbox").uncheck()
    page.locator("#aip-search").focus()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/card/" in request.url else None)
    page.evaluate("look()")
    expect(cards).to_have_count(25)
    for _ in range(3):
        page.evaluate("look()")
        page.wait_for_timeout(500)
    assert asked == []
    for stream, requests in [*crowd, urgent]:
        for request_id in requests:
            people.decide(request_id, "skipped")
        stream.finish()


MANY = b"""
from langchain_core.tools import BaseTool

class Many%d(BaseTool):
    name: str = "many_%d"
    description: str = "One of many."

    def _run(self) -> str:
        return "ran"
"""


@pytest.fixture
def own_server(fragile: Live) -> Live:
    """A server that may be hurt."""
    make_people(fragile)
    return fragile


def test_valkey_and_then_the_web_process_die_under_an_open_console(
    own_server: Live, world: Listener, login: Login
) -> None:
    server = own_server
    agent = make_agent(server, server.upload("reporter.py", name="reporter of the console"), world)
    page = login(server, "omar")
    banner = page.locator("#aip-banner")
    first, before = ask(server, agent)
    expect(card(page, before)).to_be_visible()

    server.kill("valkey-server")
    second = server.run(agent, "while Valkey was dead")  # the queue never hears of it; the sweep does
    expect(banner).to_be_visible(timeout=10_000)
    expect(banner).to_be_hidden(timeout=20_000)
    meanwhile = second.await_pending()[0]["hitl"]["request_id"]
    expect(card(page, meanwhile)).to_be_visible(timeout=5000)

    text = f"while web was dead {uuid.uuid4()}"
    third = server.run(agent, text)
    server.kill("daphne")  # the worker goes on and asks, and no page hears of it
    expect(banner).to_be_visible(timeout=10_000)
    expect(banner).to_be_hidden(timeout=20_000)
    expect(page.locator("#aip-waiting")).to_contain_text(text, timeout=5000)
    expect(page.locator("#aip-waiting [data-status=pending]")).to_have_count(3)
    card(page, before).get_by_role("button", name="Skip").click()
    expect(card(page, before)).to_contain_text("Skipped by omar")
    assert server.decide(meanwhile, "skipped").status_code == 200
    assert not any(stream.done for stream in (first, second, third))

"""Hands on the keyboard: a key decides what is on the screen, and nothing while somebody types."""

import re
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.asking import ask, card, make_agent, open_request
from tests.browser.conftest import Login
from tests.listener import Listener
from tests.live import Live, Stream

# What is on the screen, when it is ready for a key: address, request, arguments, whether it is closed.
STATE = """() => {
    if (typeof openedAt !== "number" || performance.now() - openedAt <= READY_MS) return null;
    if (location.pathname.endsWith("/inbox/")) return ["inbox"];
    const request = document.querySelector(".aip-request");
    if (!request) return null;
    const text = document.querySelector(".aip-what .aip-text").innerText;
    return [location.href, request.dataset.id, text, document.querySelector(".aip-closing") !== null];
}"""
# The second press of a double one, in the moment in which the next request has the focus.
PRESS_ON_FOCUS = """() => {
    const press = ({ target }) => target.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
    document.addEventListener("focusin", press, { once: true });
}"""
# A browser sees to `autofocus` where an element comes with it; a busy one not always, and never where it comes later.
LATE = """document.addEventListener("readystatechange", () => {
    document.querySelector("[data-late]").setAttribute("autofocus", "");
}, { once: true })"""
QUEUE = 30
BY_API = 10


@pytest.fixture(scope="module")
def agent(people: Live, reporter: dict[str, Any], world: Listener) -> str:
    return make_agent(people, reporter, world, name="typist")


@pytest.fixture
def asked(people: Live, agent: str) -> Iterator[list[tuple[Stream, str]]]:
    """Three requests of the same age; what is left of them is skipped."""
    found = [ask(people, agent) for _ in range(3)]
    yield found
    for stream, request_id in found:
        people.decide(request_id, "skipped")
        stream.finish()


def ready(page: Page) -> None:
    """A key acts a moment after a page was opened: one that was meant for the page before must not."""
    page.wait_for_function("typeof openedAt === 'number' && performance.now() - openedAt > READY_MS")


def test_a_queue_of_thirty_is_decided_by_keyboard_alone_while_others_are_decided_by_api(
    people: Live, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    name = f"queue {uuid.uuid4()}"
    agent = make_agent(people, reporter, world, name=name)
    texts = [f"{name} {i}" for i in range(QUEUE + BY_API)]
    streams = [people.run(agent, text) for text in texts]
    ids = {stream.await_pending()[0]["hitl"]["request_id"]: text for stream, text in zip(streams, texts, strict=True)}
    by_api = list(ids)[2 :: len(ids) // BY_API][:BY_API]
    page = login(people, "omar")
    page.goto(f"{people.url}/admin/inbox/?agent={name}")
    decided: dict[str, str] = {}

    def decide_others() -> None:
        for request_id in by_api:
            answer = people.decide(request_id, "rejected", "by API")
            if answer.status_code == 200:
                decided[request_id] = "rejected"

    other = threading.Thread(target=decide_others)
    other.start()
    ours: dict[str, str] = {}
    keys = [("a", "approved"), ("s", "skipped"), ("r", "rejected")]
    while state := page.wait_for_function(STATE).json_value():
        if state == ["inbox"]:  # at the beginning, and where there was no next one
            if not page.locator('#aip-waiting [data-status="pending"]').count():
                break
            page.keyboard.press("j")
            page.keyboard.press("Enter")
            page.wait_for_url("**/admin/inbox/*-*/?agent=*")
            continue
        here, shown, text, is_closed = state
        assert ids[shown] in text
        if is_closed:  # decided by API while it was opened
            page.keyboard.press("j" if page.locator("[data-key=j]").count() else "Escape")
            page.wait_for_function("here => location.href !== here", arg=here)
            continue
        key, word = keys[len(ours) % 3]
        page.keyboard.press(key)
        if key == "r":
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
        page.wait_for_function(
            "here => location.href !== here || document.querySelector('.aip-closing') !== null", arg=here
        )
        ours[shown] = word
    other.join(30)
    rows = people.rows(
        "SELECT d.request_id::text, d.decision, d.source, r.arguments->>'text', r.seal, d.seal"
        " FROM hitl_decision d JOIN hitl_approvalrequest r ON r.id = d.request_id WHERE r.agent_name = %s",
        name,
    )
    assert len(rows) == len(ids) == QUEUE + BY_API
    for request_id, word, source, text, seal, run in rows:
        assert text == ids[request_id]
        assert word == (decided if source == "api" else ours)[request_id]
        assert run == (seal if word == "approved" else "")
    assert sum(1 for row in rows if row[2] == "console") >= QUEUE
    for stream in streams:
        stream.finish()
    for request_id, text in ids.items():
        word = next(row[1] for row in rows if row[0] == request_id)
        assert world.count(text) == (1 if word == "approved" else 0)


def test_j_and_k_move_enter_opens_escape_goes_back_and_slash_searches(
    people: Live, asked: list[tuple[Stream, str]], login: Login
) -> None:
    page = login(people, "omar")
    page.goto(f"{people.url}/admin/inbox/?agent=typist")
    ready(page)
    for key, at in [("j", 0), ("j", 1), ("j", 2), ("j", 2), ("k", 1)]:
        page.keyboard.press(key)
        expect(card(page, asked[at][1])).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{asked[1][1]}/?agent=typist")
    ready(page)
    page.keyboard.press("j")
    page.wait_for_url(f"**/{asked[2][1]}/?agent=typist")
    ready(page)
    page.keyboard.press("Escape")
    page.wait_for_url("**/admin/inbox/?agent=typist")
    page.keyboard.press("/")
    expect(page.locator("#aip-search")).to_be_focused()
    page.keyboard.type("ajx?")
    expect(page.locator("#aip-search")).to_have_value("ajx?")
    page.keyboard.press("Escape")
    expect(page.locator("#aip-search")).not_to_be_focused()


def test_keys_never_act_while_somebody_types_nor_through_a_dialog(
    people: Live, asked: list[tuple[Stream, str]], login: Login
) -> None:
    page = login(people, "omar")
    open_request(page, people, asked[0][1])
    ready(page)
    note = page.get_by_label("Your words to the agent, with")
    note.focus()
    page.keyboard.type("a reason: skip, as asked")
    expect(note).to_have_value("a reason: skip, as asked")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    for key in "asejx":
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("r")
    expect(page.locator("[name=reason]").first).to_be_focused()
    for key in "asejx":
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    expect(page.locator("[name=reason]").first).to_be_hidden()
    assert asked[0][1] in page.url
    assert people.rows("SELECT count(*) FROM hitl_decision WHERE request_id = %s", asked[0][1]) == [(0,)]


def test_keys_can_be_switched_off_and_stay_off(people: Live, asked: list[tuple[Stream, str]], login: Login) -> None:
    page = login(people, "omar")
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single keys act").uncheck()
    page.get_by_role("button", name="Close").click()
    open_request(page, people, asked[0][1])
    ready(page)
    for key in "asrej?":
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".aip-act[open]")).to_have_count(0)
    assert asked[0][1] in page.url
    assert people.rows("SELECT count(*) FROM hitl_decision WHERE request_id = %s", asked[0][1]) == [(0,)]


def test_a_destructive_tool_is_approved_by_a_second_press(
    people: Live, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    agent = make_agent(people, reporter, world, destructive=True)
    stream, request_id = ask(people, agent)
    page = login(people, "omar")
    expect(card(page, request_id).get_by_role("button", name="Approve")).to_have_count(0)
    open_request(page, people, request_id)
    ready(page)
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Let it run")).to_be_focused()
    assert request_id in [request["request_id"] for request in people.pending()]
    page.keyboard.press("a")
    expect(page.get_by_text("You approved the call of reporter")).to_be_visible()
    stream.finish()
    assert stream.result(request_id)["metadata"]["hitl"]["decision"] == "approved"


def test_many_are_selected_by_key_and_decided_at_once_each_with_its_result(
    people: Live, asked: list[tuple[Stream, str]], login: Login
) -> None:
    page = login(people, "omar")
    page.goto(f"{people.url}/admin/inbox/?agent=typist")
    ready(page)
    for key in "jxjjx":
        page.keyboard.press(key)
    expect(page.locator("#aip-picked")).to_have_text("2")
    # The page must not hear of it before it sends what is selected.
    page.route(lambda url: "/bulk/" not in url, lambda route: route.abort())
    people.decide(asked[2][1], "rejected", "by API")
    page.keyboard.press("s")
    expect(page.get_by_role("button", name="Skip all that is selected")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 decided, 1 not")).to_be_visible()
    words = dict(people.rows("SELECT request_id::text, decision FROM hitl_decision"))
    assert [words.get(request_id) for _, request_id in asked] == ["skipped", None, "rejected"]


def test_approving_is_off_until_all_of_a_long_call_was_shown(people: Live, agent: str, login: Login) -> None:
    page = login(people, "omar")
    stream, request_id = ask(people, agent, "line\n" * 200)
    open_request(page, people, request_id)
    ready(page)
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    page.keyboard.press("a")
    assert request_id in [request["request_id"] for request in people.pending()]
    page.locator(".aip-what").get_by_role("button", name="Show all (1,000 characters)").click()
    page.keyboard.press("a")
    expect(page.get_by_text("You approved the call of reporter")).to_be_visible()
    stream.finish()


def test_what_is_typed_after_e_goes_into_the_form_and_decides_nothing(
    people: Live, asked: list[tuple[Stream, str]], login: Login
) -> None:
    _, request_id = asked[0]
    page = login(people, "omar")
    open_request(page, people, request_id)
    ready(page)
    page.keyboard.press("e")
    field = page.locator("#aip-edit [name='argument.text']")
    expect(field).to_be_focused()
    ready(page)
    page.keyboard.press("Control+End")
    page.keyboard.type(" skip")
    expect(field).to_have_value(re.compile("please act .* skip$"))
    page.locator("h2").first.click()  # and out of it, no letter decides either
    for key in "swrta":
        page.keyboard.press(key)
    expect(field).to_be_visible()
    assert people.rows("SELECT status FROM hitl_approvalrequest WHERE id = %s", request_id) == [("pending",)]


def without_autofocus(route: Route) -> None:
    route.fulfill(body=route.fetch().text().replace(" autofocus", " data-late"), content_type="text/html")


def test_the_first_field_has_the_focus_also_where_the_browser_does_not_see_to_it(
    people: Live, asked: list[tuple[Stream, str]], login: Login
) -> None:
    page = login(people, "omar")
    page.add_init_script(LATE)
    page.route("**/?act=edit", without_autofocus)
    page.goto(f"{people.url}/admin/inbox/{asked[0][1]}/?act=edit")
    expect(page.locator("#aip-edit [name='argument.text']")).to_be_focused()


@pytest.mark.parametrize("hand", ["key", "mouse"])
def test_a_double_press_decides_what_it_is_about_and_not_the_next(
    people: Live, asked: list[tuple[Stream, str]], login: Login, hand: str
) -> None:
    (_, first), (_, following), (_, last) = asked
    page = login(people, "omar")
    page.goto(f"{people.url}/admin/inbox/?agent=typist")
    ready(page)
    if hand == "key":
        page.keyboard.press("j")
        page.route("**/decide/**", lambda route: (page.wait_for_timeout(300), route.continue_()), times=1)
        page.evaluate(PRESS_ON_FOCUS)
        page.keyboard.press("a")
        page.keyboard.press("a")
        expect(page.locator("#aip-said")).to_have_text("It is being decided.")
        expect(card(page, following)).to_be_focused()
    else:
        # Only half of the next one is to be seen, so that to give it the focus would scroll.
        below = card(page, following).bounding_box()
        button = card(page, first).get_by_role("button", name="Approve").bounding_box()
        assert below is not None
        assert button is not None
        page.set_viewport_size({"width": 1280, "height": int(below["y"] + below["height"] / 2)})
        at = button["x"] + button["width"] / 2, button["y"] + button["height"] / 2
        page.mouse.click(*at)
        expect(card(page, first)).to_contain_text("Approved by omar")
        for _ in range(20):
            page.mouse.click(*at)
            page.wait_for_timeout(50)
        assert card(page, following).bounding_box() == below
    page.wait_for_timeout(300)
    waiting = [request["request_id"] for request in people.pending()]
    assert [request_id for _, request_id in asked if request_id in waiting] == [following, last]
    if hand == "key":  # and a moment later it is for the next one
        ready(page)
        page.keyboard.press("a")
        expect(card(page, following)).to_contain_text("Approved by omar")

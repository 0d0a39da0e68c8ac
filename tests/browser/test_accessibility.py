"""What axe-core finds by its rules for WCAG 2.0 A to 2.2 AA: nothing, on any page of the console, in light and dark."""

import uuid
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page

from tests.browser.asking import ask, make_agent
from tests.browser.conftest import Login
from tests.listener import Listener
from tests.live import Live

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = "rules => axe.run(document, {runOnly: rules}).then(found => found.violations)"
# Of the theme, and no rule of WCAG: two scrollers of one name, a row of buttons outside of any landmark.
THEIRS = {"region", "landmark-unique"}


@pytest.fixture(scope="module")
def pages(people: Live, reporter: dict[str, Any], world: Listener) -> list[str]:
    """A request that waits, one that is long, destructive and asked about before, and one that was decided."""
    agent = make_agent(people, reporter, world, seconds=3000)
    _, decided = ask(people, agent)
    people.decide(decided, "approved", "Fine by me.")
    _, waits = ask(people, agent)
    _, long = ask(people, make_agent(people, reporter, world, seconds=3000, destructive=True), "long\n" * 300)
    request, history = "/admin/inbox/{}/", "/admin/hitl/approvalrequest/"
    return [
        "/admin/inbox/",
        f"/admin/inbox/?q={uuid.uuid4()}",
        *(request.format(each) for each in (waits, long, decided)),
        *(request.format(waits) + f"?act={act}" for act in ("edit", "reject", "answer")),
        history,
        f"{history}{decided}/change/",
    ]


def found(page: Page) -> list[str]:
    page.evaluate(AXE)
    return [
        f"{page.url}: {violation['id']} {node['html'][:200]}"
        for violation in page.evaluate(CHECK, RULES)
        for node in violation["nodes"]
        if violation["id"] not in THEIRS or "/inbox/" in page.url
    ]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    people: Live, pages: list[str], login: Login, scheme: str, width: int
) -> None:
    page = login(people, "omar", color_scheme=scheme, viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for path in pages:
        page.goto(people.url + path)
        page.wait_for_timeout(300)  # the theme fades in; half of a colour has half of the contrast
        problems += found(page)
        if "/inbox/" in path and page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{page.url} is wider than the screen")
        assert page.get_by_role("main").count() == 1
    page.goto(f"{people.url}/admin/inbox/")
    page.get_by_role("button", name="Keys").click()
    problems += found(page)
    page.keyboard.press("Escape")
    page.get_by_role("checkbox").first.check()
    problems += found(page)
    assert problems == []

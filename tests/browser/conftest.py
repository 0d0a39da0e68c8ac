"""A real Chromium, and people who are logged in to the really running server."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, sync_playwright

from aip.launcher import embedded
from tests.live import CHECKOUT, Live

# Chromium must not look for its maker's servers: there is no way out of where tests run.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a-long-password-of-the-tests"
MAKE_PEOPLE = f"""
from django.contrib.auth.models import Group, Permission, User
for name in ("omar", "olga"):
    user = User.objects.create_user(name, password={PASSWORD!r}, is_staff=True)
    user.groups.add(Group.objects.get(name="operators"))
looker = User.objects.create_user("looker", password={PASSWORD!r}, is_staff=True)
looker.user_permissions.add(Permission.objects.get(codename="view_approvalrequest"))
"""

Login = Callable[..., Page]


# Ended with these tests: Playwright's event loop runs in the main thread as long as it is there.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    if not path:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


def make_people(server: Live) -> None:
    env = os.environ | {
        "AIP_DATA_DIR": str(server.data_dir),
        "DATABASE_URL": embedded.database_url(server.data_dir),
        "DJANGO_SETTINGS_MODULE": "aip.settings",
    }
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_PEOPLE]
    subprocess.run(command, cwd=CHECKOUT, env=env, check=True, timeout=60)


@pytest.fixture(scope="session")
def people(server: Live) -> Live:
    """The shared server, with two operators (omar, olga) and one who may only look."""
    make_people(server)
    return server


@pytest.fixture(scope="session")
def sessions() -> dict[tuple[str, str], StorageState]:
    """Cookies by server and name: a login costs as much as several pages, on purpose."""
    return {}


@pytest.fixture
def login(chromium: Browser, sessions: dict[tuple[str, str], StorageState]) -> Iterator[Login]:
    contexts: list[BrowserContext] = []

    def log_in(server: Live, name: str, **options: object) -> Page:
        known = sessions.get((server.url, name))
        context = chromium.new_context(storage_state=known, **options)  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{server.url}/admin/inbox/")
        if "/login/" in page.url:  # nobody was logged in by this name, or that session is over
            page.fill("[name=username]", name)
            page.fill("[name=password]", PASSWORD)
            page.click("[type=submit]")
            page.wait_for_url("**/admin/inbox/")
            sessions[server.url, name] = context.storage_state()
        return page

    yield log_in
    for context in contexts:
        context.close()

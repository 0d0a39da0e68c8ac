"""Make the README's pictures anew: `uv run python -m tests.browser.screenshots`."""

import os
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

from playwright.sync_api import Browser, sync_playwright

from tests import live
from tests.browser.conftest import OPTIONS, PASSWORD, make_people
from tests.model_server import ModelServer, calls, says, serving, tool_call, tool_results

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
TOOL = b"""
from langchain_core.tools import BaseTool

class SendMail(BaseTool):
    name: str = "send_mail"
    description: str = "Sends a mail."

    def _run(self, to: str, subject: str, text: str) -> str:
        return f"Sent to {to}."
"""
MAILS = [
    {
        "to": "jane.doe@example.com",
        "subject": "Your offer",
        "text": "Dear Jane,\n\nwe are happy to offer you the position of a site engineer.\n\nBest regards",
    },
    {"to": "payments@example.com", "subject": "Invoice 2041", "text": "Please pay 12,400 EUR by Friday."},
    {"to": "all@example.com", "subject": "Maintenance tonight", "text": "The shop is closed from 22:00 to 23:00."},
]
SHOTS = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 760)}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with (
        serving() as models,
        live.running(OPENAI_API_KEY="sk-none", OPENAI_BASE_URL=models.url) as server,
        sync_playwright() as playwright,
    ):
        make_people(server)
        request_id = fill(server, models)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=OPTIONS)
        for name, (width, height) in SHOTS.items():
            shoot(browser, server, request_id, name, width, height)
        browser.close()


def fill(server: live.Live, models: ModelServer) -> str:
    tool = server.upload(TOOL, name="send_mail")
    streams = []
    for i, mail in enumerate(MAILS):
        wanted = calls(tool_call("send_mail", mail, "call_1"))
        models.scripts[f"mail-{i}"] = lambda body, wanted=wanted: says("Done.") if tool_results(body) else wanted
        agent = server.create_agent(
            name=["recruiter", "bookkeeper", "shopkeeper"][i],
            instruction="Ask before you write to anybody.",
            tools=[tool["id"]],
            agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": f"mail-{i}"},
            tool_configs={tool["id"]: {"hitl": {"timeout_seconds": [25, 900, 7200][i]}}},
        )
        streams.append(server.run(agent, f"Please write to {mail['to']} about: {mail['subject']}"))
    pending = [stream.await_pending()[0]["hitl"]["request_id"] for stream in streams]
    server.decide(pending[2], "rejected", "Not tonight, please: the sale ends at midnight.")
    return str(pending[1])


def shoot(browser: Browser, server: live.Live, request_id: str, name: str, width: int, height: int) -> None:
    scheme = "dark" if name == "dark" else "light"
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{server.url}/admin/")
    page.fill("[name=username]", "omar")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url("**/admin/inbox/")
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"inbox-{name}.png", full_page=True)
    page.goto(f"{server.url}/admin/inbox/{request_id}/")
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"request-{name}.png", full_page=True)
    context.close()


if __name__ == "__main__":
    main()

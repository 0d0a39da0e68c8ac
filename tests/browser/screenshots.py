"""Make the README's pictures anew: `uv run --group dev python -m tests.browser.screenshots`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

from playwright.sync_api import Browser, Page, sync_playwright

from tests import live
from tests.browser.conftest import OPTIONS, PASSWORD, make_people
from tests.model_server import ModelServer, calls, says, serving, tool_call, tool_results

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS, README = ROOT / "docs", (ROOT / "README.md").read_text()
TOOLS = {
    "send_mail": b"""
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

class MailInput(BaseModel):
    to: str = Field(title="To", description="Address of the recipient")
    subject: str = Field(title="Subject", max_length=120)
    text: str = Field(title="Text")

class SendMail(BaseTool):
    name: str = "send_mail"
    description: str = "Sends a mail in the name of the company."
    args_schema: type[BaseModel] = MailInput

    def _run(self, to: str, subject: str, text: str) -> str:
        return f"Sent to {to}."
""",
    "pay_invoice": b"""
from typing import Literal
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

class Payment(BaseModel):
    payee: str = Field(title="Payee")
    amount: float = Field(title="Amount", gt=0)
    currency: Literal["EUR", "USD", "CHF"] = Field(title="Currency")
    booking: dict[str, str] = Field(title="Booking", description="Account and cost centre")

class PayInvoice(BaseTool):
    name: str = "pay_invoice"
    description: str = "Pays an invoice from the company's account."
    args_schema: type[BaseModel] = Payment

    def _run(self, payee: str, amount: float, currency: str, booking: dict) -> str:
        return f"Paid {amount} {currency} to {payee}."
""",
    "run_sql": b"""
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

class Statement(BaseModel):
    database: str = Field(title="Database")
    sql: str = Field(title="SQL")

class RunSql(BaseTool):
    name: str = "run_sql"
    description: str = "Runs a statement on a production database."
    args_schema: type[BaseModel] = Statement

    def _run(self, database: str, sql: str) -> str:
        return "Done."
""",
}
OFFER = (
    "Dear Jane,\n\nthank you for the conversations of the last weeks. We are happy to offer you the position of a site "
    "engineer in our team in Graz, from 1 March on.\n\nYou would lead the work on the new depot together with Maria "
    "and Tom. The contract is attached; please tell us by Friday whether you would like to join us.\n\nBest regards\n"
    "The recruiting team"
)
PURGE = """DELETE FROM customers
WHERE last_order < now() - interval '3 years'
  AND id NOT IN (SELECT customer_id FROM contracts WHERE ends_at > now());"""
# Agent, tool, arguments, seconds, and what became of it before the pictures are made.
REQUESTS: list[tuple[str, str, dict[str, Any], float, str]] = [
    (
        "recruiter",
        "send_mail",
        {"to": "tom.berg@example.com", "subject": "Your offer", "text": "Dear Tom,\n\nthe contract is attached."},
        7200,
        "approved",
    ),
    (
        "bookkeeper",
        "pay_invoice",
        {"payee": "Paper Ltd", "amount": 96.2, "currency": "EUR", "booking": {"account": "6815", "centre": "office"}},
        7200,
        "approved",
    ),
    (
        "shopkeeper",
        "send_mail",
        {"to": "all@example.com", "subject": "Maintenance tonight", "text": "The shop is closed from 22:00 on."},
        7200,
        "rejected",
    ),
    ("recruiter", "send_mail", {"to": "jane.doe@example.com", "subject": "Your offer", "text": OFFER}, 1500, ""),
    (
        "bookkeeper",
        "pay_invoice",
        {"payee": "Steel AG", "amount": 12400, "currency": "EUR", "booking": {"account": "3400", "centre": "depot"}},
        285,
        "",
    ),
    ("janitor", "run_sql", {"database": "shop", "sql": PURGE}, 3600, ""),
    (
        "shopkeeper",
        "send_mail",
        {"to": "press@example.com", "subject": "Opening hours", "text": "From May on we are open until 20:00."},
        5400,
        "",
    ),
]
SHOTS = {"light": (1440, 1000), "dark": (1440, 1000), "phone": (360, 1000)}


def main(docs: Path = DOCS) -> None:
    docs.mkdir(exist_ok=True)
    with serving() as models, live.running(OPENAI_API_KEY="sk-none", OPENAI_BASE_URL=models.url) as server:
        make_people(server)
        requests = fill(server, models)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=OPTIONS)
            for name, (width, height) in SHOTS.items():
                shoot(browser, server, requests, docs, name, width, height)
            browser.close()


def fill(server: live.Live, models: ModelServer) -> dict[str, str]:
    """Make the requests, the short ones decided; the ids of those that wait, by agent."""
    tools = {name: server.upload(source, name=name)["id"] for name, source in TOOLS.items()}
    waiting = {}
    for i, (name, tool, arguments, seconds, decision) in enumerate(REQUESTS):
        wanted = calls(tool_call(tool, arguments, "call_1"))
        models.scripts[f"model-{i}"] = lambda body, wanted=wanted: says("Done.") if tool_results(body) else wanted
        agent = server.create_agent(
            name=name,
            version="2.1",
            instruction="You work for a company of 40 people. Ask before you write to anybody or move money.",
            tools=[tools[tool]],
            agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": f"model-{i}"},
            tool_configs={tools[tool]: {"hitl": {"timeout_seconds": seconds}, "destructive": tool == "run_sql"}},
        )
        stream = server.run(agent, f"Please take care of this: {', '.join(map(str, list(arguments.values())[:2]))}.")
        request = stream.await_pending()[0]["hitl"]["request_id"]
        if decision:
            server.decide(
                request, decision, "Not tonight: the sale ends at midnight." if decision == "rejected" else ""
            )
            stream.finish()
        else:
            waiting[name] = request
    return waiting


def log_in(browser: Browser, server: live.Live, scheme: Any, width: int, height: int) -> Page:
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(f"{server.url}/admin/")
    page.fill("[name=username]", "omar")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url("**/admin/inbox/")
    return page


def shoot(
    browser: Browser, server: live.Live, requests: dict[str, str], docs: Path, name: str, width: int, height: int
) -> None:
    page = log_in(browser, server, "dark" if name == "dark" else "light", width, height)

    def shot(what: str, path: str, act: Callable[[], Any] = lambda: None) -> None:
        if f"docs/{what}-{name}.png" not in README:
            return
        page.goto(f"{server.url}/admin/{path}")
        page.wait_for_timeout(500)
        act()
        page.wait_for_timeout(300)
        page.screenshot(path=docs / f"{what}-{name}.png")

    def press(*keys: str) -> Callable[[], None]:
        return lambda: [page.keyboard.press(key) for key in keys] and None

    shot("inbox", "inbox/", press(*("jj" if name != "phone" else "")))
    shot("selected", "inbox/", press("j", "x", "j", "j", "x"))
    shot("request", f"inbox/{requests['recruiter']}/")
    shot("destructive", f"inbox/{requests['janitor']}/", press("a"))
    shot("reject", f"inbox/{requests['bookkeeper']}/", press("r"))
    shot(
        "edit",
        f"inbox/{requests['bookkeeper']}/?act=edit",
        lambda: page.fill("[name='argument.amount']", "1240"),
    )
    shot("keys", "inbox/", press("?"))
    shot("history", "hitl/approvalrequest/")
    page.context.close()


if __name__ == "__main__":
    main()

"""What an operator does besides yes and no, with and without JavaScript; and a screen that is not true any more."""

import uuid
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.asking import ask, card, make_agent, open_request
from tests.browser.conftest import Login
from tests.listener import Listener
from tests.live import Live
from tests.model_server import ModelServer, calls, says, tool_call, tool_results


def scripted(people: Live, reporter: dict[str, Any], world: Listener, models: ModelServer, text: str) -> str:
    """An agent of the OpenAI kind, whose model asks with `text` and is listened to; its name is the model's."""
    name = f"model-{uuid.uuid4()}"
    models.scripts[name] = lambda body: (
        says("All done.") if tool_results(body) else calls(tool_call("reporter", {"text": text}, "call_1"))
    )
    return people.create_agent(
        name=name,
        tools=[reporter["id"]],
        agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": name},
        tool_configs={reporter["id"]: {"hitl": {"timeout_seconds": 180}, "listener": world.url}},
    )


def heard(models: ModelServer, people: Live, agent: str) -> str:
    name = people.client.get(f"/agents/{agent}").json()["data"]["name"]
    return tool_results(models.sent_to(name)[-1])[0]


def test_edited_arguments_run_and_both_versions_are_kept_and_told(
    people: Live, reporter: dict[str, Any], world: Listener, models: ModelServer, login: Login
) -> None:
    asked, edited = f"offer {uuid.uuid4()}", f"better offer {uuid.uuid4()}"
    agent = scripted(people, reporter, world, models, asked)
    stream, request_id = ask(people, agent)
    page = login(people, "omar")
    open_request(page, people, request_id)
    page.get_by_role("link", name="Edit and approve").click()
    page.locator("[name='argument.text']").fill(edited)
    expect(page.locator(".aip-difference")).to_contain_text("better")
    assert page.locator(".aip-difference del").inner_text() in asked
    page.get_by_role("button", name="Approve with these arguments").click()
    expect(page.get_by_text("You approved the call of reporter")).to_be_visible()
    stream.finish()
    assert (world.count(asked), world.count(edited)) == (0, 1)
    kept = people.rows(
        "SELECT r.arguments, d.arguments, r.seal <> d.seal FROM hitl_decision d"
        " JOIN hitl_approvalrequest r ON r.id = d.request_id WHERE r.id = %s",
        request_id,
    )
    assert kept == [({"text": asked}, {"text": edited}, True)]
    assert "The operator changed the arguments" in heard(models, people, agent)
    open_request(page, people, request_id)
    expect(page.locator(".aip-what")).to_contain_text("Approved with changes by omar in the console")
    expect(page.locator(".aip-what del")).to_have_text(asked)
    expect(page.locator(".aip-what ins")).to_have_text(edited)


def test_an_edit_that_breaks_the_schema_says_why_and_loses_nothing(
    people: Live, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    tool = people.upload(PAYMENT, name=f"payment {uuid.uuid4()}")
    agent = make_agent(people, tool, world)
    stream, request_id = ask(people, agent)
    page = login(people, "omar")
    open_request(page, people, request_id, "?act=edit")
    page.get_by_label("payee").fill("Steel AG")
    page.get_by_label("amount").fill("twelve")
    page.get_by_label("Your words to the agent, with").fill("half a thought")
    page.get_by_role("button", name="Approve with these arguments").click()
    expect(page.get_by_text("This must be a number")).to_be_visible()
    page.get_by_label("amount").fill("-3")
    page.get_by_role("button", name="Approve with these arguments").click()
    expect(page.get_by_text("Input should be greater than 0")).to_be_visible()
    expect(page.get_by_label("payee")).to_have_value("Steel AG")
    expect(page.get_by_label("Your words to the agent, with")).to_have_value("half a thought")
    assert request_id in [request["request_id"] for request in people.pending()]
    people.decide(request_id, "skipped")
    stream.finish()


PAYMENT = b"""
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

class Payment(BaseModel):
    payee: str
    amount: float = Field(gt=0)

class Pay(BaseTool):
    name: str = "pay"
    description: str = "Pays."
    args_schema: type[BaseModel] = Payment
    listener: str = ""

    def _run(self, payee: str, amount: float) -> str:
        return "paid"
"""


def test_an_answer_stands_in_the_tools_place(
    people: Live, reporter: dict[str, Any], world: Listener, models: ModelServer, login: Login
) -> None:
    asked, answer = f"ask {uuid.uuid4()}", f"Jane said yes on the phone {uuid.uuid4()}"
    agent = scripted(people, reporter, world, models, asked)
    stream, request_id = ask(people, agent)
    page = login(people, "omar")
    open_request(page, people, request_id)
    page.get_by_text("Answer in its place…").click()
    page.get_by_label("your text becomes its result").fill(answer)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("You answered the call of reporter")).to_be_visible()
    stream.finish()
    assert world.count(asked) == 0
    assert heard(models, people, agent) == answer
    open_request(page, people, request_id)
    expect(page.locator(".aip-what")).to_contain_text(answer)


def test_the_tools_own_defaults_are_shown_and_a_wrong_date_is_refused_beside_its_field(
    people: Live, models: ModelServer, login: Login
) -> None:
    tool, model = people.upload("purge.py", name=f"purge {uuid.uuid4()}")["id"], f"model-{uuid.uuid4()}"
    models.scripts[model] = lambda body: (
        says(tool_results(body)[-1]) if tool_results(body) else calls(tool_call("purge", {"folder": "inbox"}, "call_1"))
    )
    agent = people.create_agent(
        name=model,
        tools=[tool],
        agent_config={"hitl_enabled": True, "lm_provider": "openai", "lm_name": model},
        tool_configs={tool: {"hitl": {"timeout_seconds": 180}}},
    )
    stream, request_id = ask(people, agent)
    page = login(people, "omar")
    open_request(page, people, request_id)
    shown = page.locator(".aip-argument", has_text="the tool's own default")
    expect(shown.locator("pre")).to_have_text(["made when it runs", "2026-01-01", "false"])
    page.get_by_role("link", name="Edit and approve").click()
    page.locator("[name='argument.before']").fill("31.12.2026")
    page.get_by_role("button", name="Approve with these arguments").click()
    field = page.locator(".aip-field", has=page.locator("[name='argument.before']"))
    expect(field.locator(".aip-problem")).to_contain_text("valid date")
    expect(page.locator("[name='argument.before']")).to_have_value("31.12.2026")
    assert people.rows("SELECT status FROM hitl_approvalrequest WHERE id = %s", request_id) == [("pending",)]
    page.locator("[name='argument.before']").fill("2026-12-31")
    page.get_by_role("button", name="Approve with these arguments").click()
    expect(page.get_by_text("You approved the call of purge")).to_be_visible()
    assert stream.finish()["content"].startswith("inbox 2026-12-31 False")


def test_without_javascript_requests_are_read_approved_rejected_skipped_edited_and_answered(
    people: Live, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    agent = make_agent(people, reporter, world)
    page = login(people, "omar", java_script_enabled=False)

    def edit(page: Page) -> None:
        page.get_by_role("link", name="Edit and approve").click()
        page.locator("[name='argument.text']").fill("edited by hand")
        page.get_by_role("button", name="Approve with these arguments").click()

    def answer(page: Page) -> None:
        page.get_by_text("Answer in its place…").click()
        page.get_by_label("your text becomes its result").fill("by hand")
        page.get_by_role("button", name="Answer in its place").click()

    def reject(page: Page) -> None:
        page.get_by_text("Reject…").click()
        page.get_by_label("Too risky.").check()
        page.locator("#aip-why").fill("Ask Maria.")
        page.get_by_role("button", name="Reject", exact=True).click()

    acts = {
        "approved": lambda page: page.get_by_role("button", name="Approve", exact=True).click(),
        "rejected": reject,
        "skipped": lambda page: page.get_by_role("button", name="Skip").click(),
        "approved with another text": edit,
        "answered": answer,
    }
    for word, act in acts.items():
        text = f"{word} {'line ' * 300} {uuid.uuid4()}"
        stream, request_id = ask(people, agent, text)
        page.goto(f"{people.url}/admin/inbox/")
        card(page, request_id).get_by_role("link", name="to read all of it").click()
        assert page.locator(".aip-what .aip-text").first.inner_text() == text
        act(page)
        expect(page.get_by_text(f"You {word.split()[0]} the call of reporter")).to_be_visible()
        stream.finish()
        assert world.count(text) == (1 if word == "approved" else 0)
    notes = people.rows("SELECT operator_input FROM hitl_decision WHERE decision = 'rejected' AND source = 'console'")
    assert ("Too risky. Ask Maria.",) in notes


def test_a_stale_screen_decides_nothing_and_says_what_happened(
    people: Live, reporter: dict[str, Any], world: Listener, login: Login
) -> None:
    agent = make_agent(people, reporter, world)
    page = login(people, "olga")
    page.route_web_socket("**/admin/inbox/socket", lambda socket: socket.close())
    for place in ("", "inbox"):
        stream, request_id = ask(people, agent)
        path = "" if place else f"{request_id}/"
        page.goto(f"{people.url}/admin/inbox/{path}")
        expect(page.locator("#aip-banner")).to_be_visible()
        # Nothing that is asked in the background comes through; what the operator sends does.
        page.route(
            "**/admin/inbox/**", lambda route: route.abort() if route.request.method == "GET" else route.continue_()
        )
        people.decide(request_id, "rejected", "not today")
        within = card(page, request_id) if place else page.locator("#aip-list")
        within.get_by_role("button", name="Approve", exact=True).click()
        within = card(page, request_id) if place else page.locator("#aip-list")
        expect(within.get_by_role("alert")).to_contain_text("already rejected by master")
        expect(within).to_contain_text("not today")
        expect(within.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
        page.unroute("**/admin/inbox/**")
        stream.finish()
        decided = people.rows("SELECT decision, source FROM hitl_decision WHERE request_id = %s", request_id)
        assert decided == [("rejected", "api")]

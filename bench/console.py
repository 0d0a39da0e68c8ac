"""What the console costs an operator: `uv run --group dev python -m bench.console [--waiting 10,10000] [--samples 20]`.

Starts a private server and a Chromium that is logged in to it. Prints one JSON object:

inbox, request   the median time in milliseconds, by how many requests wait, from the start of the navigation to the
                 first paint: of the inbox, and of the page of one request. `ratio` is that of the last number to the
                 first one's.
seen             how long after a request was committed it stands on an inbox that is open: median and 95th percentile.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

import psycopg
from playwright.sync_api import Browser, Page, sync_playwright

from aip.launcher import embedded, private_server
from bench.client import Client, clock
from bench.seen import committed

COPY = """
INSERT INTO hitl_approvalrequest (id, run_id, agent_id, agent_name, checkpoint_ns, round, reason, tool_id, tool_version,
    tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds, created_at, timeout_at,
    execution)
SELECT gen_random_uuid(), gen_random_uuid(), agent_id, agent_name, checkpoint_ns, round, reason, tool_id, tool_version,
    tool_name, tool_call_id, arguments, args_schema, context, seal, status, timeout_seconds + n / 1000.0, created_at,
    timeout_at + n * interval '1 ms', execution
FROM hitl_approvalrequest, generate_series(1, %s) n WHERE id = %s
RETURNING 1
"""
PAINT = """() => new Promise(done => {
    const look = () => {
        const found = performance.getEntriesByName("first-contentful-paint")[0];
        found ? done(found.startTime) : setTimeout(look, 5);
    };
    look();
})"""
# Notes when a card comes, by the wall clock: the server's is this machine's.
NOTE = """() => {
    window.cameAt = {};
    new MutationObserver(() => {
        for (const card of document.querySelectorAll("#aip-waiting .aip-card")) cameAt[card.dataset.id] ??= Date.now();
    }).observe(document.body, { childList: true, subtree: true });
}"""
WAIT_MS = 10_000


def log_in(browser: Browser, server: private_server.PrivateServer) -> Page:
    page = browser.new_page()
    page.goto(f"{server.url}/admin/")
    page.fill("[name=username]", "operator")
    page.fill("[name=password]", embedded.secret(server.data_dir, "operator-password"))
    page.click("[type=submit]")
    page.wait_for_url("**/admin/inbox/")
    return page


def first_paint(page: Page, url: str, samples: int) -> float:
    """Milliseconds, the median; what is loaded once is not counted."""
    found = []
    for _ in range(samples + 1):
        page.goto(url)
        found.append(float(page.evaluate(PAINT)))
    return statistics.median(found[1:])


def fill(server: private_server.PrivateServer, original: str, waiting: int) -> None:
    here = server.rows("SELECT count(*) FROM hitl_approvalrequest WHERE status = 'pending'")[0][0]
    server.rows(COPY, waiting - here, original)
    # What PostgreSQL does by itself within a minute.
    with psycopg.connect(embedded.database_url(server.data_dir), autocommit=True) as connection:
        connection.execute("ANALYZE hitl_approvalrequest")


def seen(client: Client, server: private_server.PrivateServer, page: Page, samples: int) -> dict[str, float]:
    """From the commit to the card on the open inbox."""
    page.goto(f"{server.url}/admin/inbox/")
    page.evaluate(NOTE)
    page.wait_for_timeout(1000)
    found = []
    for _ in range(samples):
        asked = client.start()
        if not asked.pending.wait(WAIT_MS / 1000):
            raise TimeoutError("nothing was asked")
        page.wait_for_function("id => cameAt[id]", arg=asked.request_id, timeout=WAIT_MS)
        at = page.evaluate("id => cameAt[id] / 1000", asked.request_id)
        found.append(1000 * (at - committed(server, asked.request_id)))
        client.approve(asked)
        time.sleep(0.5)  # each by itself
    cuts = statistics.quantiles(found, n=20, method="inclusive")
    return {"median_ms": round(cuts[9], 1), "p95_ms": round(cuts[18], 1)}


def measure(waiting: list[int], samples: int) -> dict[str, Any]:
    with private_server.running() as server, clock() as heard, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page, client = log_in(browser, server), Client(server.url, server.key, heard)
        figures: dict[str, Any] = {"seen": seen(client, server, page, samples), "inbox": {}, "request": {}}
        asked = client.start()
        if not asked.pending.wait(WAIT_MS / 1000):
            raise TimeoutError("nothing was asked")
        for number in waiting:
            fill(server, asked.request_id, number)
            inbox = f"{server.url}/admin/inbox/"
            figures["inbox"][str(number)] = round(first_paint(page, inbox, samples), 1)
            figures["request"][str(number)] = round(first_paint(page, f"{inbox}{asked.request_id}/", samples), 1)
        for name in ("inbox", "request"):
            times = list(figures[name].values())
            figures[name]["ratio"] = round(times[-1] / times[0], 2)
        client.approve(asked)
        browser.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", default="10,10000", help="how many wait; default: %(default)s")
    parser.add_argument("--samples", type=int, default=20, help="default: %(default)s")
    given = parser.parse_args()
    print(json.dumps(measure([int(number) for number in given.waiting.split(",")], given.samples), indent=2))


if __name__ == "__main__":
    main()

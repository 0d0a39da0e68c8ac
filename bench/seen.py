"""How long after it was committed a request is listed, and told to an open console; and the console's first page."""

import json
import re
import statistics
import time
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from aip.launcher import embedded
from aip.launcher.private_server import PrivateServer
from bench.client import Client

SAMPLES = 20
PAGES = 20
WAIT_SECONDS = 10


def log_in(server: PrivateServer) -> httpx.Client:
    """An operator's browser."""
    browser = httpx.Client(base_url=server.url, follow_redirects=True, timeout=30)
    page = browser.get("/admin/login/").text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    password = embedded.secret(server.data_dir, "operator-password")
    fields = {"username": "operator", "password": password, "csrfmiddlewaretoken": token[1] if token else ""}
    browser.post("/admin/login/?next=/admin/inbox/", data=fields, headers={"Referer": server.url}).raise_for_status()
    return browser


def open_socket(server: PrivateServer, browser: httpx.Client) -> ClientConnection:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    address = f"{server.url.replace('http', 'ws', 1)}/admin/inbox/socket"
    return connect(address, additional_headers={"Cookie": cookies, "Origin": server.url})


def committed(server: PrivateServer, request_id: str) -> float:
    """When the request was written, by the wall clock: the database's and ours are one machine's."""
    sql = "SELECT extract(epoch FROM created_at)::float8 FROM hitl_approvalrequest WHERE id = %s"
    at: float = server.rows(sql, request_id)[0][0]
    return at


def seen(client: Client, server: PrivateServer) -> dict[str, Any]:
    """Medians, in milliseconds."""
    browser = log_in(server)
    told, listed, known = [], [], set[str]()
    with open_socket(server, browser) as socket:
        for _ in range(SAMPLES):
            asked = client.start()
            told.append(_told_after(server, socket, known))
            client.approve(asked)
    known = _listed(client)
    for _ in range(SAMPLES):
        asked = client.start()
        new = _new(client, known)
        now = time.time()  # noqa: TID251 - the database's clock is this machine's
        listed.append(now - committed(server, new))
        client.approve(asked)
    pages = [_page(browser) for _ in range(PAGES)]
    return {
        "committed_to_socket_ms": round(1000 * statistics.median(told), 2),
        "committed_to_listed_ms": round(1000 * statistics.median(listed), 2),
        "inbox_ms": round(1000 * statistics.median(pages), 2),
    }


def _told_after(server: PrivateServer, socket: ClientConnection, known: set[str]) -> float:
    """How long after it was committed a request is told that is not `known`; it is then. Others' news are skipped."""
    while True:
        request_id = json.loads(socket.recv(timeout=WAIT_SECONDS))["id"]
        now = time.time()  # noqa: TID251 - the database's clock is this machine's
        if request_id not in known:
            known.add(request_id)
            return now - committed(server, request_id)


def _listed(client: Client) -> set[str]:
    return {request["request_id"] for request in client.http.get("/agents/hitl/pending").raise_for_status().json()}


def _new(client: Client, known: set[str]) -> str:
    """The request that is listed besides `known`, at once when it is."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if new := _listed(client) - known:
            return new.pop()
    raise TimeoutError(f"no new request was listed within {WAIT_SECONDS} s")


def _page(browser: httpx.Client) -> float:
    began = time.perf_counter()
    browser.get("/admin/inbox/").raise_for_status()
    return time.perf_counter() - began

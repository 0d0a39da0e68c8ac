"""Server-sent events of a run: replay its rows, follow them, keep the connection alive (contract 3.4.3).

An ASGI application of its own, in front of Django: Django's middleware runs thread-sensitive code, and a
request that did so keeps a thread until its response ends. An open stream here costs its socket; its reads
go through one small executor, and each gives its connection back.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

from django.contrib.auth.models import User
from rest_framework.exceptions import MethodNotAllowed, PermissionDenied

from agents.api import multipart
from agents.api.query_serializers import StreamQuery
from agents.api.run_serializers import RunInputSerializer
from agents.api.subscription import POLL_SECONDS, subscribe
from agents.models import ENDED, Run, RunEvent
from agents.runs import attachments, events, lifecycle
from aip.core import auth, errors
from aip.core.db import AWAY, borrowed_connection
from aip.core.json_input import read_object

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = dict[str, str]
T = TypeVar("T")

KEEP_ALIVE_SECONDS = 15.0
BATCH = 200
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
JSON_TYPES = ("application/json", "application/x-www-form-urlencoded")  # the latter is curl's -d
FORM = "multipart/form-data"

_reads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stream")
# Starting a run may wait for its tools to check their settings; the open streams must not wait for that.
_begins = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stream-begin")


async def _in_thread(work: Callable[..., T], *args: Any, executor: ThreadPoolExecutor = _reads) -> T:
    def run() -> T:
        with borrowed_connection():
            return work(*args)

    return await asyncio.get_running_loop().run_in_executor(executor, run)


async def run_application(scope: Scope, receive: Receive, send: Send) -> None:
    """POST /agents/{id}/run: start a run and answer with its events until the last."""
    body = await _body(receive)
    agent_id = scope["url_route"]["kwargs"]["agent_id"]
    await _answer_with_events(receive, send, _start, scope["method"], _headers(scope), agent_id, body)


async def rejoin_application(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /agents/{id}/runs/{run_id}/stream: the events of a run after one that the client has."""
    await _body(receive)
    query = parse_qs(scope["query_string"].decode("latin-1"))
    ids = scope["url_route"]["kwargs"]
    await _answer_with_events(receive, send, _rejoin, scope["method"], _headers(scope), ids, query)


def _headers(scope: Scope) -> Headers:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def _answer_with_events(receive: Receive, send: Send, begin: Callable[..., tuple[UUID, int]], *args: Any) -> None:
    """The events of the run that `begin` gives, after the number that it gives; or its error, as JSON."""
    try:
        run_id, after = await _in_thread(begin, *args, executor=_begins)
    except Exception as e:
        found = errors.describe(e)
        if found is None:
            logger.exception("A stream could not be opened")
            found = 500, errors.server_error_body()
        await _answer(send, *found, allowed=e.allowed if isinstance(e, _OtherMethod) else None)
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [*HEADERS, (b"x-run-id", str(run_id).encode())],
        }
    )
    await _until_disconnect(receive, _send_all(send, run_id, after))


class _OtherMethod(MethodNotAllowed):
    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(method, f"This takes {allowed}, not {method}.")
        self.allowed = allowed


def _admit(method: str, headers: Headers, *, allowed: str, permission: str) -> User:
    user = auth.user_of(headers.get("x-api-key", ""))
    if method != allowed:
        raise _OtherMethod(method, allowed)
    if not user.has_perm(permission):
        raise PermissionDenied
    return user


def _start(method: str, headers: Headers, agent_id: str, body: bytes) -> tuple[UUID, int]:
    user = _admit(method, headers, allowed="POST", permission="agents.add_run")
    data, files = _read(body, headers.get("content-type", ""))
    serializer = RunInputSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    attachments.check(files)
    fields = serializer.fields_of_run()
    return lifecycle.start(agent_id, **fields, files=files, requester=user.get_username()).pk, 0


def _read(body: bytes, content_type: str) -> tuple[dict[str, Any], list[attachments.Attachment]]:
    """What a run is asked for with, and the files that come with it; only a form has some."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM:
        return multipart.read(body, content_type)
    if media_type not in JSON_TYPES:
        raise errors.unsupported("application/json, or as multipart/form-data with files")
    return read_object(body), []


def _rejoin(method: str, headers: Headers, ids: dict[str, str], query: dict[str, list[str]]) -> tuple[UUID, int]:
    _admit(method, headers, allowed="GET", permission="agents.view_run")
    run = lifecycle.find(ids["agent_id"], ids["run_id"])
    after = query["after"][-1] if "after" in query else headers.get("last-event-id", "")
    return run.pk, StreamQuery.read({"after": after.strip()})["after"]


async def _body(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


async def _answer(send: Send, status: int, body: dict[str, Any], *, allowed: str | None = None) -> None:
    headers = [(b"content-type", b"application/json")]
    if allowed:
        headers.append((b"allow", allowed.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _until_disconnect(receive: Receive, sending: Awaitable[None]) -> None:
    """Send until the end or until the client has gone; the run goes on either way."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = {asyncio.ensure_future(sending), asyncio.ensure_future(gone())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _send_all(send: Send, run_id: UUID, after: int) -> None:
    async def write(text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode("ascii"), "more_body": True})

    await write(": open\n\n")
    async for frame in follow(run_id, after):
        await write(frame)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def follow(run_id: UUID, after: int) -> AsyncIterator[str]:
    """The frames of a run's stream, from the event after the number `after` to `[DONE]`.

    Pieces of the model's answer come between them as they are received, without a number: they are not kept.
    """
    with subscribe(events.group(run_id)) as subscription:
        has_changed = True
        while True:
            if has_changed:
                try:
                    batch = await _in_thread(_events_after, run_id, after)
                except AWAY as e:
                    logger.warning("A stream waits for the database: %s", type(e).__name__)
                    await asyncio.sleep(POLL_SECONDS)
                    yield ": waiting\n\n"
                    continue
                if batch is None:
                    yield "data: [DONE]\n\n"
                    return
                is_all = len(batch) < BATCH
                for seq, payload in events.in_order(batch, is_all=is_all):
                    after = seq
                    yield f"id: {seq}\n{_data(payload)}"
                    if payload.get("is_final"):
                        yield "data: [DONE]\n\n"
                        return
                if not is_all:
                    continue
            try:
                await asyncio.wait_for(subscription.is_ready.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield ": keep-alive\n\n"
                has_changed = True
                continue
            pieces, has_changed = subscription.get()
            for payload in pieces:
                yield _data(payload)


def _data(payload: dict[str, Any]) -> str:
    """ASCII alone: the published client splits lines at U+2028, U+2029 and U+0085."""
    return f"data: {json.dumps(payload)}\n\n"


def _events_after(run_id: UUID, after: int) -> list[tuple[int, dict[str, Any]]] | None:
    """None when there are no more and will not be: the client had the last event already."""
    events = RunEvent.objects.filter(run=run_id, seq__gt=after).order_by("seq").values_list("seq", "payload")[:BATCH]
    found = list(events)
    if found or not Run.objects.filter(pk=run_id, status__in=ENDED).exists():
        return found
    # It has ended since or before: what there is now is all.
    return list(events.all()) or None

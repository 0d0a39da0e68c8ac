"""The console's socket closes when it has nothing to tell any more, or may not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from hitl.console import socket as console_socket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_socket, "RECHECK_SECONDS", 0.05)


@pytest.fixture
def cookie(client: Client) -> str:
    user = User.objects.create_user("omar", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_approvalrequest"))
    client.force_login(user)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def closed_after(change: Callable[[], Any], cookie: str) -> dict[str, Any]:
    """What the socket says when `change` has been made; it says nothing before."""

    async def listen() -> dict[str, Any]:
        application = console_socket.close_when_unavailable(
            AuthMiddlewareStack(console_socket.ConsoleConsumer.as_asgi())
        )
        socket = WebsocketCommunicator(application, "/admin/inbox/socket", headers=[(b"cookie", cookie.encode())])
        assert (await socket.connect())[0]
        assert await socket.receive_nothing(0.3)
        await sync_to_async(change)()
        said: dict[str, Any] = await socket.receive_output(10)
        await socket.disconnect()
        return said

    return asyncio.run(listen())


@pytest.mark.parametrize(
    "change",
    [
        lambda: User.objects.get(username="omar").user_permissions.clear(),
        lambda: User.objects.filter(username="omar").update(is_active=False),
        lambda: Session.objects.all().delete(),
        lambda: Session.objects.update(expire_date=Now()),
        lambda: User.objects.filter(username="omar").update(password="another"),
    ],
    ids=["permission", "active", "logged out", "expired", "password"],
)
def test_it_closes_when_its_user_may_not_listen_any_more(change: Callable[[], Any], cookie: str) -> None:
    assert closed_after(change, cookie) == {"type": "websocket.close", "code": console_socket.TRY_AGAIN_LATER}


def test_it_closes_when_the_database_cannot_tell_whether_it_may_listen(cookie: str) -> None:
    def sql(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    try:
        said = closed_after(lambda: sql("ALTER TABLE django_session RENAME TO away"), cookie)
    finally:
        sql("ALTER TABLE away RENAME TO django_session")
    assert said == {"type": "websocket.close", "code": console_socket.TRY_AGAIN_LATER}

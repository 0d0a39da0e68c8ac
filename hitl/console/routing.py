from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path, re_path

from hitl.console.socket import ConsoleConsumer


class UnknownSocket(AsyncWebsocketConsumer):  # type: ignore[misc] # the library has no types
    """There is no socket at this address."""

    async def connect(self) -> None:
        await self.close()


websocket_urlpatterns = [path("admin/inbox/socket", ConsoleConsumer.as_asgi()), re_path(r"", UnknownSocket.as_asgi())]

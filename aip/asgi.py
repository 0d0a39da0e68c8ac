"""The web process: event streams in front, everything else through Django."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")
django.setup(set_prefix=False)

from asgiref.sync import sync_to_async  # noqa: E402 - needs Django to be set up
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.http.response import HttpResponseBase  # noqa: E402
from django.urls import re_path  # noqa: E402

from agents.api.stream import rejoin_application, run_application  # noqa: E402
from agents.api.urls import RUN_START, RUN_STREAM  # noqa: E402
from aip.body_limit import BodyLimit, bound_daphne  # noqa: E402
from aip.response_headers import ResponseHeaders  # noqa: E402
from hitl.console.routing import websocket_urlpatterns  # noqa: E402
from hitl.console.socket import close_when_unavailable  # noqa: E402


class Handler(ASGIHandler):
    """Django with a request's middleware and view in one thread, which they all need anyway.

    Its own handler goes to that thread and back for each of them, which took half of a simple request's time.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)


django_application = Handler()

# Daphne runs no checks of its own.
call_command("check", verbosity=0)
bound_daphne()

application = ProtocolTypeRouter(
    {
        "http": ResponseHeaders(
            BodyLimit(
                URLRouter(
                    [
                        # Channels routes ASGI applications by Django's paths; the stubs know views alone.
                        re_path(RUN_START, run_application),  # type: ignore[arg-type]
                        re_path(RUN_STREAM, rejoin_application),  # type: ignore[arg-type]
                        re_path(r"", django_application),  # type: ignore[arg-type]
                    ]
                )
            )
        ),
        "websocket": AllowedHostsOriginValidator(
            close_when_unavailable(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
        ),
    }
)

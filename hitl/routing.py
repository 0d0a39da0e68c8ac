from django.urls import path

from hitl.consumers import ConsoleConsumer

websocket_urlpatterns = [path("admin/inbox/socket", ConsoleConsumer.as_asgi())]

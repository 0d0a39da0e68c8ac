"""GET /health-check: 200 only when everything that a run needs is alive."""

import redis
from django.conf import settings
from django.db import DatabaseError
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.runs import heartbeats
from aip.core import openapi
from aip.core.exceptions import Unavailable

NAMES = {"worker": "no worker is alive", "sweep": "no sweep is alive"}


def missing() -> list[str]:
    """What is not alive, as short sentences; empty when all is well."""
    found = []
    try:
        alive = heartbeats.alive()
        found += [sentence for kind, sentence in NAMES.items() if kind not in alive]
    except DatabaseError:
        found.append("PostgreSQL cannot be reached")
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2).ping()
    except redis.RedisError:
        found.append("Redis cannot be reached")
    return found


class HealthCheck(APIView):
    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(operation_id="health_check", tags=["server"], responses={200: openapi.HEALTH, **openapi.errors(503)})
    def get(self, request: Request) -> Response:
        """Whether runs can be carried out now; needs no key."""
        problems = missing()
        if problems:
            raise Unavailable(f"Not ready: {', '.join(problems)}.")
        return Response({"status": "healthy"})

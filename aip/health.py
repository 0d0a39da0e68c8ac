"""GET /health-check: 200 only when everything that a run needs is alive."""

import redis
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from agents import heartbeats
from aip.errors import body

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


@require_safe
def health_check(request: HttpRequest) -> JsonResponse:
    problems = missing()
    if problems:
        return JsonResponse(body("unavailable", f"Not ready: {', '.join(problems)}."), status=503)
    return JsonResponse({"status": "healthy"})

"""One error shape for the whole API: `{"success": false, "error": "...", "message": "..."}`."""

import logging
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)

DATABASE_AWAY = "The database cannot be reached right now. Nothing was changed; please try again in a moment."


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class Unavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"


def body(error: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": error, "message": message}


SERVER_ERROR = body("server_error", "Something went wrong here; the server's log says what.")


def sentences(detail: Any, path: str = "") -> list[str]:
    """DRF's nested details as flat sentences, each with the path of the field that it is about."""
    if isinstance(detail, dict):
        return [
            line
            for key, value in detail.items()
            for line in sentences(value, path if key == "non_field_errors" else f"{path}.{key}".lstrip("."))
        ]
    if isinstance(detail, list):
        return [line for value in detail for line in sentences(value, path)]
    return [f"{path}: {detail}" if path else str(detail)]


def describe(exc: Exception) -> tuple[int, dict[str, Any]] | None:
    """Status and body for an exception that has an answer; None for a defect of ours."""
    if isinstance(exc, OperationalError | InterfaceError):
        logger.error("The database cannot be reached: %s", type(exc).__name__)
        return 503, body("unavailable", DATABASE_AWAY)
    if not isinstance(exc, exceptions.APIException):
        return None
    codes = exc.get_codes()
    code = codes if isinstance(codes, str) else "validation_error"
    return exc.status_code, body(code, " ".join(sentences(exc.detail)))


def handle(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound(str(exc) or None)
    found = describe(exc)
    if found is None:
        return None
    set_rollback()
    code, data = found
    headers = {"WWW-Authenticate": header} if (header := getattr(exc, "auth_header", "")) else {}
    return Response(data, status=code, headers=headers)


def _wants_html(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return defaults.bad_request(request, exception)
    return JsonResponse(body("bad_request", "The request cannot be read."), status=400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return defaults.page_not_found(request, exception)
    return JsonResponse(body("not_found", f"There is nothing at {request.path}."), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    if _wants_html(request):
        return defaults.server_error(request)
    return JsonResponse(SERVER_ERROR, status=500)

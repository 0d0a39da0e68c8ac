"""One error shape for the whole API: `{"success": false, "error": "...", "message": "...", ...}`.

See docs/reference/errors.md.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions
from rest_framework.views import set_rollback

from aip.core import request_id
from aip.core.exceptions import Conflict, DomainError, Invalid, NotFound, TooLarge, Unavailable, Unreadable

logger = logging.getLogger(__name__)

MAX_SENTENCES = 5
MAX_MESSAGE = 2000
DATABASE_AWAY = "The database cannot be reached right now. Nothing was changed; please try again in a moment."


UNKNOWN_ORIGIN = (
    "The server does not know the address that this form came from. Nothing was changed. Behind a proxy that ends TLS, "
    "CSRF_TRUSTED_ORIGINS has to name the console's address as browsers see it, such as https://aip.example.com."
)
STALE_FORM = (
    "This form is from an earlier session, or cookies are blocked. Nothing was changed. Open the page again, under "
    "https:// where the server is reached by it, and repeat what you did."
)


# Status and `error` of each kind of refusal; a subclass stands before its base.
REFUSALS: tuple[tuple[type[DomainError], int, str], ...] = (
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (Unreadable, 400, "parse_error"),
    (Invalid, 400, "validation_error"),
    (TooLarge, 413, "too_large"),
    (Unavailable, 503, "unavailable"),
)


# What kind of error a status is, in the published client's words where it has one. Others are of the kind of 400.
CATEGORIES = {
    400: "validation",
    401: "auth",
    403: "permission",
    404: "not_found",
    409: "conflict",
    500: "server",
    503: "unavailable",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field: a whole sentence, which names the field. `field` is empty for the request."""

    field: tuple[str, ...]
    sentence: str
    code: str

    def as_detail(self) -> dict[str, Any]:
        return {"loc": list(self.field), "msg": self.sentence, "type": self.code}


def body(status: int, error: str, message: str, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """The body of an error. It has `detail` where nothing but fields is to blame: clients show that as the reason."""
    blames_fields = bool(problems) and all(problem.field for problem in problems)
    return {
        "success": False,
        "error": error,
        "message": message,
        "error_code": error,
        "category": CATEGORIES.get(status, CATEGORIES[400]),
        "retryable": status == 503,
        "request_id": request_id.current(),
        **({"detail": [problem.as_detail() for problem in problems]} if blames_fields else {}),
    }


def server_error_body() -> dict[str, Any]:
    return body(500, "server_error", "Something went wrong here; the server's log says what.")


def _problems(detail: Any, field: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Nested errors, as DRF has them, flat."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _problems(value, field if key == "non_field_errors" else (*field, str(key)))
    elif isinstance(detail, list):
        for value in detail:
            yield from _problems(value, field)
    else:
        text, path = str(detail), ".".join(field)
        sentence = text if text.startswith(path) else f"{path}: {text}"
        yield Problem(field, sentence[:MAX_MESSAGE], getattr(detail, "code", "invalid"))


def _refused(status: int, error: str, detail: Any) -> tuple[int, dict[str, Any]]:
    problems = list(islice(_problems(detail), MAX_SENTENCES))
    return status, body(status, error, " ".join(one.sentence for one in problems)[:MAX_MESSAGE], problems)


def describe(exc: Exception) -> tuple[int, dict[str, Any]] | None:
    """Status and body for an exception that has a response; None for a bug of the server."""
    match exc:
        case OperationalError() | InterfaceError():
            logger.error("The database cannot be reached: %s", type(exc).__name__)
            return 503, body(503, "unavailable", DATABASE_AWAY)
        case DomainError():
            status, code = next((status, code) for kind, status, code in REFUSALS if isinstance(exc, kind))
            return _refused(status, code, exc.errors if isinstance(exc, Invalid) else str(exc))
        case exceptions.APIException():
            codes = exc.get_codes()
            code = codes if isinstance(codes, str) else "validation_error"
            return _refused(exc.status_code, code, exc.detail)
        case _:
            return None


def unsupported(media_type: str) -> exceptions.UnsupportedMediaType:
    """415 that names what to send."""
    return exceptions.UnsupportedMediaType("", f"Send the body as {media_type}, and say so in the header Content-Type.")


def handle(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's exception handler. Its answer is JSON whatever the view renders."""
    found = describe(_with_advice(exc, context))
    if found is None:
        return None
    set_rollback()
    code, data = found
    headers = {"WWW-Authenticate": header} if (header := getattr(exc, "auth_header", "")) else {}
    return JsonResponse(data, status=code, headers=headers)


def _with_advice(exc: Exception, context: dict[str, Any]) -> Exception:
    """Django's and DRF's own refusals, in words that say what to do instead."""
    view, request = context["view"], context["request"]
    match exc:
        case Http404():
            return exceptions.NotFound(str(exc) or None)
        case exceptions.UnsupportedMediaType():
            return unsupported(view.parser_classes[0].media_type)
        case exceptions.MethodNotAllowed():
            return exceptions.MethodNotAllowed(
                request.method, f"{request.path} takes {', '.join(view.allowed_methods)}, not {request.method}."
            )
        case exceptions.NotAcceptable():
            return exceptions.NotAcceptable("The answer is JSON: send the header Accept: application/json, or none.")
        case _:
            return exc


def _wants_html(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def _page(title: str, text: str, status: int) -> HttpResponse:
    """Reads nothing from the database, and no session."""
    return HttpResponse(render_to_string("hitl/plain.html", {"title": title, "text": text}), status=status)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _page("Nothing was sent", UNKNOWN_ORIGIN if "trusted origins" in reason else STALE_FORM, 403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, DisallowedHost):
        text = "The server does not answer to the host name in this address: use another, or add it to ALLOWED_HOSTS."
    else:
        text = f"The request cannot be read: {exception}"
    return JsonResponse(body(400, "bad_request", text), status=400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return defaults.page_not_found(request, exception)
    text = f"There is nothing at {request.path}. The API is described at /docs/, the console is at /admin/."
    return JsonResponse(body(404, "not_found", text), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Called while the exception that no view has caught is handled."""
    exc = sys.exc_info()[1]
    found = describe(exc) if isinstance(exc, Exception) else None
    code, data = found or (500, server_error_body())
    if not _wants_html(request):
        return JsonResponse(data, status=code)
    return _page("Please try again", data["message"], code) if found else defaults.server_error(request)

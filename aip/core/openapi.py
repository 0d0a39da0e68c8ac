"""Pieces of the OpenAPI description that the views of all apps share."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse, inline_serializer
from rest_framework import serializers

from aip.core.errors import CATEGORIES

Serializer = type[serializers.BaseSerializer[Any]]

PROBLEM = inline_serializer(
    "FieldError",
    {
        "loc": serializers.ListField(child=serializers.CharField(), help_text="The field, from the outermost in"),
        "msg": serializers.CharField(help_text="A whole sentence"),
        "type": serializers.CharField(),
    },
    many=True,
    required=False,
    help_text="What is wrong with single fields, where nothing else is",
)
ERROR = inline_serializer(
    "Error",
    {
        "success": serializers.BooleanField(),
        "error": serializers.CharField(),
        "message": serializers.CharField(help_text="What was wrong, and what to do"),
        "error_code": serializers.CharField(help_text="The same word as `error`"),
        "category": serializers.CharField(help_text=f"One of {', '.join(CATEGORIES.values())}"),
        "retryable": serializers.BooleanField(help_text="Whether the same request may succeed later"),
        "request_id": serializers.CharField(help_text="Also in the header X-Request-ID and in the server's log"),
        "detail": PROBLEM,
    },
)
REASONS = {
    400: "The request is not valid; the message names the field and what was wrong.",
    401: "The API key is missing or wrong.",
    404: "There is no such thing.",
    406: "The answer is JSON, and the header Accept does not take it.",
    409: "It conflicts with what is there.",
    413: "The body is too large.",
    415: "The content type is not one that is read here.",
    503: "Something that the server needs is away; nothing was changed.",
}
EVERYWHERE = (406, 503)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # the library has no types
    target_class = "aip.core.auth.ApiKeyAuthentication"
    name = "ApiKeyAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def errors(*statuses: int, everywhere: Sequence[int] = EVERYWHERE) -> dict[int, Any]:
    return {code: OpenApiResponse(ERROR, REASONS[code]) for code in sorted({*statuses, *everywhere})}


def envelope(name: str, data: Any, **more: Any) -> Any:
    fields = {"success": serializers.BooleanField(), "message": serializers.CharField(), "data": data, **more}
    return inline_serializer(name, fields)


@cache  # one component, however many endpoints answer with it
def single(serializer: Serializer) -> Any:
    return envelope(f"{serializer.__name__}Envelope", serializer())


@cache
def listing(serializer: Serializer) -> Any:
    return envelope(f"{serializer.__name__}List", serializer(many=True))


@cache
def page(serializer: Serializer) -> Any:
    return envelope(
        f"{serializer.__name__}Page",
        serializer(many=True),
        total=serializers.IntegerField(),
        page=serializers.IntegerField(),
        limit=serializers.IntegerField(),
        has_next=serializers.BooleanField(),
        has_prev=serializers.BooleanField(),
    )


HEALTH = inline_serializer("Health", {"status": serializers.CharField()})
DELETED = OpenApiResponse(description="Deleted")

"""Pieces of the OpenAPI description that the views share."""

from functools import cache
from typing import Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers


def _whole(name: str, low: int, high: int, description: str = "") -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "integer", "minimum": low, "maximum": high}, description=description)


PAGE = _whole("page", 1, 10**6)
PAGING = [_whole("limit", 1, 100, "Without it, all"), PAGE]
OFFSET = [_whole("offset", 0, 10**6), _whole("limit", 1, 1000)]

FILTERS = [
    OpenApiParameter("name", str, description="A part of the name, in capital or small letters"),
    OpenApiParameter("agent_type", str),
    OpenApiParameter("framework", str),
    OpenApiParameter("version", str),
    OpenApiParameter("include_deleted", bool, description="Also those that were deleted; false without it"),
    *(
        OpenApiParameter(name, str, description="A date or a time in ISO 8601")
        for name in ("created_at_start", "created_at_end", "updated_at_start", "updated_at_end")
    ),
    OpenApiParameter("metadata.{key}", str, description="The value of one entry of the metadata"),
]
RUN_FILTERS = [
    _whole("limit", 1, 100, "20 without it"),
    PAGE,
    OpenApiParameter(
        "status",
        str,
        enum=["started", "success", "failed", "cancelled", "aborted", "unavailable"],
        description="A run that waits for a person is `started`",
    ),
    OpenApiParameter("run_type", str, enum=["manual", "schedule"], description="No run is scheduled yet"),
    OpenApiParameter("schedule_id", UUID),
]
TOOL_TYPE = [OpenApiParameter("type", str, enum=["custom", "native"])]

Serializer = type[serializers.BaseSerializer[Any]]

ERROR = inline_serializer(
    "Error",
    {
        "success": serializers.BooleanField(),
        "error": serializers.CharField(),
        "message": serializers.CharField(),
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


def errors(*statuses: int) -> dict[int, Any]:
    return {code: OpenApiResponse(ERROR, REASONS[code]) for code in sorted({*statuses, *EVERYWHERE})}


def _envelope(name: str, data: Any, **more: Any) -> Any:
    fields = {"success": serializers.BooleanField(), "message": serializers.CharField(), "data": data, **more}
    return inline_serializer(name, fields)


@cache  # one component, however many endpoints answer with it
def single(serializer: Serializer) -> Any:
    return _envelope(f"{serializer.__name__}Envelope", serializer())


@cache
def listing(serializer: Serializer) -> Any:
    return _envelope(f"{serializer.__name__}List", serializer(many=True))


@cache
def page(serializer: Serializer) -> Any:
    return _envelope(
        f"{serializer.__name__}Page",
        serializer(many=True),
        total=serializers.IntegerField(),
        page=serializers.IntegerField(),
        limit=serializers.IntegerField(),
        has_next=serializers.BooleanField(),
        has_prev=serializers.BooleanField(),
    )


MODELS = _envelope(
    "LanguageModelList",
    inline_serializer(
        "LanguageModel",
        {
            "id": serializers.UUIDField(),
            "provider": serializers.CharField(),
            "name": serializers.CharField(),
            "account_id": serializers.CharField(allow_null=True),
        },
        many=True,
    ),
)
HEALTH = inline_serializer("Health", {"status": serializers.CharField()})
CANCELLED = _envelope(
    "RunCancelled",
    inline_serializer("CancelledRun", {"id": serializers.UUIDField(), "status": serializers.CharField()}),
)
DELETED = OpenApiResponse(description="Deleted")
EMPTY = _envelope("McpList", serializers.ListField(child=serializers.DictField()))

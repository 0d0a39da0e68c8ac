"""Pieces of the OpenAPI description of agents, tools, runs and models."""

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from aip.core.openapi import envelope


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

MODELS = envelope(
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
CANCELLED = envelope(
    "RunCancelled",
    inline_serializer("CancelledRun", {"id": serializers.UUIDField(), "status": serializers.CharField()}),
)
EMPTY = envelope("McpList", serializers.ListField(child=serializers.DictField()))

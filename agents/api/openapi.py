"""Pieces of the OpenAPI description of agents, tools, runs and models."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from aip.core.openapi import envelope

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
RUN_STATE: dict[str, serializers.Field[Any, Any, Any, Any]] = {
    "id": serializers.UUIDField(),
    "status": serializers.CharField(),
}
CANCELLED = envelope("RunCancelled", inline_serializer("CancelledRun", RUN_STATE))
RESUMED = envelope("RunResumed", inline_serializer("ResumedRun", RUN_STATE))
EMPTY = envelope("McpList", serializers.ListField(child=serializers.DictField()))

# The contract spells the paths of lists with a slash at the end, and no others.
SLASHED = ("/agents/", "/tools/", "/mcps/", "/language-models/")


def spell_paths(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Paths as the contract spells them, and the ids in them as UUIDs; for drf-spectacular to call at the end."""
    result["paths"] = {
        path if path in SLASHED else path.rstrip("/"): operations for path, operations in result["paths"].items()
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"] = {"type": "string", "format": "uuid"}
    return result

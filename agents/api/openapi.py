"""Pieces of the OpenAPI description of agents, tools, runs and models."""

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
CANCELLED = envelope(
    "RunCancelled",
    inline_serializer("CancelledRun", {"id": serializers.UUIDField(), "status": serializers.CharField()}),
)
EMPTY = envelope("McpList", serializers.ListField(child=serializers.DictField()))

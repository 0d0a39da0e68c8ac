"""Pieces of the OpenAPI description that the views share."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

PAGING = [
    OpenApiParameter("limit", int, description="1 to 100; without it, all"),
    OpenApiParameter("page", int, description="From 1"),
]
OFFSET = [OpenApiParameter("offset", int), OpenApiParameter("limit", int, description="1 to 1000")]

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
    409: "It conflicts with what is there.",
    413: "The body is too large.",
    415: "The content type is not one that is read here.",
}


def errors(*statuses: int) -> dict[int, Any]:
    return dict.fromkeys(statuses, ERROR)


def _envelope(name: str, data: Any, **more: Any) -> Any:
    fields = {"success": serializers.BooleanField(), "message": serializers.CharField(), "data": data, **more}
    return inline_serializer(name, fields)


def single(serializer: Serializer) -> Any:
    return _envelope(f"{serializer.__name__}Envelope", serializer())


def listing(serializer: Serializer) -> Any:
    return _envelope(f"{serializer.__name__}List", serializer(many=True))


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
EMPTY = _envelope("McpList", serializers.ListField(child=serializers.DictField()))


def add_run_endpoint(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Describe POST /agents/{agent_id}/run, which is served in front of Django and so unseen by its URLs."""
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    result["paths"]["/agents/{agent_id}/run"] = {
        "post": {
            "operationId": "agents_run",
            "summary": "Run an agent",
            "description": (
                "Answers with the run's events as server-sent events until its last, then `[DONE]`. "
                "The run belongs to the server: it goes on when the client disconnects."
            ),
            "tags": ["agents"],
            "parameters": [
                {
                    "in": "path",
                    "name": "agent_id",
                    "required": True,
                    "schema": {"type": "string", "format": "uuid"},
                }
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": RUN_REQUEST}},
            },
            "security": [{"ApiKeyAuth": []}],
            "responses": {
                "200": {
                    "description": "The stream",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    "headers": {"X-Run-ID": {"schema": {"type": "string", "format": "uuid"}}},
                },
                **{str(code): {**error, "description": REASONS[code]} for code in (400, 401, 404, 413, 415)},
            },
        }
    }
    return result


RUN_REQUEST = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"type": "string", "description": "What the agent is asked"},
        "chat_history": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["content"],
                "properties": {
                    "role": {"type": "string", "description": "user, assistant or system"},
                    "content": {"type": "string"},
                },
            },
        },
        "runtime_config": {
            "type": "object",
            "description": "`agent_config` and `tool_configs` that override the agent's for this run, key by key",
        },
    },
}

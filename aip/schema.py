"""Pieces of the OpenAPI description that the views share."""

from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

PAGING = [
    OpenApiParameter("limit", int, description="1 to 100; without it, all"),
    OpenApiParameter("page", int, description="From 1"),
]
OFFSET = [OpenApiParameter("offset", int), OpenApiParameter("limit", int, description="1 to 1000")]

FILTERS = [
    OpenApiParameter("name", str, description="A part of the name, in capital or small letters"),
    OpenApiParameter("agent_type", str),
    OpenApiParameter("framework", str),
    OpenApiParameter("version", str),
    *(
        OpenApiParameter(name, str, description="A date or a time in ISO 8601")
        for name in ("created_at_start", "created_at_end", "updated_at_start", "updated_at_end")
    ),
    OpenApiParameter("metadata.{key}", str, description="The value of one entry of the metadata"),
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
SLASHED = ("/agents/", "/tools/", "/mcps/", "/language-models/", "/schema/", "/docs/")


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # the library has no types
    target_class = "aip.auth.ApiKeyAuthentication"
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
EMPTY = _envelope("McpList", serializers.ListField(child=serializers.DictField()))


def _id_in_path(name: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string", "format": "uuid"}}


def add_streams(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """The paths as the contract spells them, and the endpoints that answer with a run's events.

    The latter are served in front of Django and so unseen by its URLs.
    """
    result["paths"] = {
        path if path in SLASHED else path.rstrip("/"): operations for path, operations in result["paths"].items()
    }
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    stream = {
        "description": "The stream; each event has the id that a client gives to go on after it. "
        "Those of the kind `token`, pieces of what the model says, have none: they are not kept",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "headers": {"X-Run-ID": {"schema": {"type": "string", "format": "uuid"}}},
    }
    result["paths"]["/agents/{agent_id}/runs/{run_id}/stream"] = {
        "get": {
            "operationId": "runs_stream",
            "summary": "Join the stream of a run, again or for the first time, while it goes on or afterwards",
            "description": "The run's events after the one named, then `[DONE]`, as in `POST /agents/{agent_id}/run`.",
            "tags": ["runs"],
            "parameters": [
                _id_in_path("agent_id"),
                _id_in_path("run_id"),
                {"in": "query", "name": "after", "schema": {"type": "integer", "minimum": 0}},
                {"in": "header", "name": "Last-Event-ID", "schema": {"type": "integer", "minimum": 0}},
            ],
            "security": [{"ApiKeyAuth": []}],
            "responses": {
                "200": stream,
                **{str(code): {**error, "description": REASONS[code]} for code in (400, 401, 404, 503)},
            },
        }
    }
    result["paths"]["/agents/{agent_id}/run"] = {
        "post": {
            "operationId": "agents_run",
            "summary": "Run an agent",
            "description": (
                "Answers with the run's events as server-sent events until its last, then `[DONE]`. "
                "The run belongs to the server: it goes on when the client disconnects."
            ),
            "tags": ["agents"],
            "parameters": [_id_in_path("agent_id")],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": RUN_REQUEST}},
            },
            "security": [{"ApiKeyAuth": []}],
            "responses": {
                "200": stream,
                **{str(code): {**error, "description": REASONS[code]} for code in RUN_ERRORS},
            },
        }
    }
    return result


RUN_ERRORS = (400, 401, 404, 413, 415, 503)
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
            "description": "`agent_config` and `tool_configs` that override the agent's for this run, key by key; "
            "and the same under the id of a sub-agent, for that one",
        },
    },
}

"""The OpenAPI description of the endpoints that answer with a run's events, which Django's URLs do not know."""

from typing import Any

from aip.core.openapi import REASONS

SLASHED = ("/agents/", "/tools/", "/mcps/", "/language-models/", "/schema/", "/docs/")
RUN_ERRORS = (400, 401, 404, 413, 415, 503)
RUN_DESCRIPTION = (
    "Answers with the run's events as server-sent events until its last, then `[DONE]`. "
    "The run belongs to the server: it goes on when the client disconnects.\n\n"
    "Files come as `multipart/form-data`: at most 10, each of at most 4 MiB. Those that are UTF-8 are given to the "
    "model as text with their name, after the input; of others it is told name, type and size.\n\n"
    "`pii_mapping`, `enable_pii`, `user_id`, `memory_user_id` and `gl_connectors_token` are accepted and have no "
    "effect; they are not stored."
)
NO_EFFECT = "Accepted; has no effect"
RUN_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": {"type": "string", "minLength": 1, "description": "What the agent is asked"},
        "chat_history": {
            "type": "array",
            "nullable": True,
            "description": "What was said before",
            "items": {
                "type": "object",
                "required": ["content"],
                "properties": {
                    "role": {"description": "user, assistant or system; anything else is the user"},
                    "content": {"type": "string"},
                },
            },
        },
        "runtime_config": {
            "type": "object",
            "nullable": True,
            "description": (
                "`agent_config` and `tool_configs` that override the agent's for this run, key by key; "
                "also under the agent's own id"
            ),
        },
        "pii_mapping": {"type": "object", "nullable": True, "description": NO_EFFECT},
        "enable_pii": {"description": NO_EFFECT},
        "user_id": {"description": NO_EFFECT},
        "memory_user_id": {"description": NO_EFFECT},
        "gl_connectors_token": {"description": f"{NO_EFFECT}, and is neither stored nor logged"},
    },
}
RUN_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "input": RUN_REQUEST["properties"]["input"],
        "files": {"type": "array", "maxItems": 10, "items": {"type": "string", "format": "binary"}},
        "chat_history": {"type": "string", "description": "As JSON"},
        "runtime_config": {"type": "string", "description": "As JSON"},
        "pii_mapping": {"type": "string", "description": f"As JSON. {NO_EFFECT}"},
        "enable_pii": {"type": "string", "description": NO_EFFECT},
        "gl_connectors_token": {"type": "string", "description": f"{NO_EFFECT}, and is neither stored nor logged"},
    },
}
STREAMED = {
    "type": "object",
    "description": "One server-sent event",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Its number in the run"},
        "data": {"type": "string", "description": "A JSON object, or `[DONE]` as the last"},
    },
}


def _id_in_path(name: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string", "format": "uuid"}}


def add_streams(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """The paths and the ids in them as the contract spells them, and the endpoints that answer with a run's events.

    The latter are served in front of Django and so unseen by its URLs.
    """
    result["paths"] = {
        path if path in SLASHED else path.rstrip("/"): operations for path, operations in result["paths"].items()
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["parameters"] = [
                _id_in_path(entry["name"]) if entry["in"] == "path" else entry
                for entry in operation.get("parameters", [])
            ]
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    stream = {
        "description": "The stream; each event has the id that a client gives to go on after it. "
        "Those of the kind `token`, pieces of what the model says, have none: they are not kept",
        "content": {"text/event-stream": {"schema": STREAMED}},
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
            "description": RUN_DESCRIPTION,
            "tags": ["agents"],
            "parameters": [_id_in_path("agent_id")],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": RUN_REQUEST},
                    "multipart/form-data": {"schema": RUN_FORM},
                },
            },
            "security": [{"ApiKeyAuth": []}],
            "responses": {
                "200": stream,
                **{str(code): {**error, "description": REASONS[code]} for code in RUN_ERRORS},
            },
        }
    }
    return result

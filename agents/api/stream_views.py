"""The endpoints that answer with a run's events, as the OpenAPI document describes them.

`agents.api.stream` serves them: `aip.asgi` routes their paths to it, in front of Django.
"""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.query_serializers import StreamQuery
from agents.api.run_serializers import RunFormSerializer, RunInputSerializer
from agents.runs.attachments import MAX_FILE_BYTES, MAX_FILES
from aip.core import openapi
from aip.core.exceptions import Unavailable

RUN_DESCRIPTION = (
    "Answers with the run's events as server-sent events until its last, then `[DONE]`. "
    "The run belongs to the server: it goes on when the client disconnects.\n\n"
    f"Files come as `multipart/form-data`: at most {MAX_FILES}, each of at most {MAX_FILE_BYTES // 1024**2} MiB. "
    "Those that are UTF-8 are given to the model as text with their name, after the input; of others it is told name, "
    "type and size.\n\n"
    "`pii_mapping`, `enable_pii`, `user_id`, `memory_user_id` and `gl_connectors_token` are accepted and have no "
    "effect; they are not stored."
)


class StreamedSerializer(serializers.Serializer[Any]):
    """One server-sent event"""

    id = serializers.CharField(required=False, help_text="Its number in the run")
    data = serializers.CharField(help_text="A JSON object, or `[DONE]` as the last")  # type: ignore[assignment]


STREAM = {
    (200, "text/event-stream"): OpenApiResponse(
        StreamedSerializer,
        "The stream; each event has the id that a client gives to go on after it. Those of the kind `token`, pieces of "
        "what the model says, have none: they are not kept",
    )
}
# The event stream does not read the header Accept.
EVERYWHERE = (503,)
RUN_ID = OpenApiParameter("X-Run-ID", UUID, OpenApiParameter.HEADER, response=[200])
LAST_EVENT_ID = OpenApiParameter("Last-Event-ID", {"type": "integer", "minimum": 0}, OpenApiParameter.HEADER)
NOT_SERVED = "Event streams are served by the ASGI application alone; start the server by `manage.py up`."


class RunStart(APIView):
    permissions = {"POST": "agents.add_run"}

    @extend_schema(
        operation_id="agents_run",
        summary="Run an agent",
        description=RUN_DESCRIPTION,
        tags=["agents"],
        parameters=[RUN_ID],
        request={"application/json": RunInputSerializer, "multipart/form-data": RunFormSerializer},
        responses={**STREAM, **openapi.errors(400, 401, 404, 413, 415, everywhere=EVERYWHERE)},
    )
    def post(self, request: Request, agent_id: str) -> Response:
        raise Unavailable(NOT_SERVED)


class RunStream(APIView):
    permissions = {"GET": "agents.view_run"}

    @extend_schema(
        operation_id="runs_stream",
        summary="Join the stream of a run, again or for the first time, while it goes on or afterwards",
        description="The run's events after the one named, then `[DONE]`, as in `POST /agents/{agent_id}/run`.",
        tags=["runs"],
        parameters=[StreamQuery, LAST_EVENT_ID, RUN_ID],
        responses={**STREAM, **openapi.errors(400, 401, 404, everywhere=EVERYWHERE)},
    )
    def get(self, request: Request, agent_id: str, run_id: str) -> Response:
        raise Unavailable(NOT_SERVED)

"""REST for what agents may name besides tools: models, and MCP servers, of which there are none."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.openapi import EMPTY, MODELS, OFFSET
from agents.api.params import MAX_NUMBER, envelope, given, whole
from agents.catalog import model_names
from aip.core import openapi
from aip.core.exceptions import NotFound

MAX_MODELS = 1000


class LanguageModelList(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(
        operation_id="models_list",
        tags=["models"],
        parameters=OFFSET,
        responses={200: MODELS, **openapi.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """The models that agents may name."""
        query = given(request)
        offset = whole(query, "offset", 0, low=0, high=MAX_NUMBER)
        limit = whole(query, "limit", MAX_MODELS, low=1, high=MAX_MODELS)
        names = model_names.listed()[offset : offset + limit]
        models = [(name, model_names.parse(name)) for name in names]
        data = [
            {"id": model_names.model_id(name), "provider": model.provider, "name": model.name, "account_id": None}
            for name, model in models
        ]
        return Response(envelope(data))


class McpList(APIView):
    permissions = {"GET": "agents.view_agent", "POST": "agents.add_agent"}

    @extend_schema(operation_id="mcps_list", tags=["mcps"], responses={200: EMPTY, **openapi.errors(401)})
    def get(self, request: Request) -> Response:
        """MCP servers: this server has none."""
        return Response(envelope([]))

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        raise NotFound("This server has no MCP servers yet.")

"""REST for what agents may name besides tools: models, and MCP servers, of which there are none."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.envelope import envelope
from agents.api.openapi import EMPTY, MODELS
from agents.api.query_serializers import ModelQuery
from agents.catalog import model_names
from aip.core import openapi
from aip.core.exceptions import NotFound


class LanguageModelList(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(
        operation_id="models_list",
        tags=["models"],
        parameters=[ModelQuery],
        responses={200: MODELS, **openapi.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """The models that agents may name."""
        query = ModelQuery.read(request.query_params)
        names = model_names.available()[query["offset"] : query["offset"] + query["limit"]]
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

"""REST for tools, agents and models. A view checks, calls one verb, and renders."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import llm, roster, toolbox
from agents.models import Tool
from agents.sandbox import SandboxUnavailable, ToolRejected
from agents.serializers import AgentInputSerializer, AgentSerializer, ToolSerializer, ToolUploadSerializer
from aip import schema
from aip.errors import Conflict, Unavailable

MAX_PAGE = 100


def envelope(data: Any, message: str = "ok", **paging: Any) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data, **paging}


def _context() -> dict[str, Any]:
    return {"account_id": roster.account_id()}


class ToolList(APIView):
    permissions = {"GET": "agents.view_tool"}

    @extend_schema(tags=["tools"], responses={200: schema.listing(ToolSerializer), **schema.errors(401)})
    def get(self, request: Request) -> Response:
        """All tools, newest first."""
        tools = Tool.objects.filter(deleted_at=None).select_related("current").order_by("-created_at", "id")
        kind = request.query_params.get("type")
        found = tools if kind in (None, "", "custom") else tools.none()
        return Response(envelope(ToolSerializer(found, many=True, context=_context()).data))


class ToolUpload(APIView):
    permissions = {"POST": "agents.add_tool"}
    parser_classes = [MultiPartParser]

    @extend_schema(
        tags=["tools"],
        request=ToolUploadSerializer,
        responses={200: schema.single(ToolSerializer), **schema.errors(400, 401, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Upload a Python file with one LangChain tool class."""
        serializer = ToolUploadSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        try:
            tool = toolbox.upload(
                source=given["file"].read(),
                file_name=given["file"].name,
                name=given.get("name") or None,
                framework=given["framework"],
                version=given["version"],
                description=given.get("description") or None,
                tags=[tag.strip() for tag in given.get("tags", "").split(",") if tag.strip()],
            )
        except ToolRejected as e:
            raise ValidationError({"file": str(e)}) from e
        except toolbox.NameTaken as e:
            raise Conflict(str(e)) from e
        except SandboxUnavailable as e:
            raise Unavailable(str(e)) from e
        return Response(envelope(ToolSerializer(tool, context=_context()).data, "Tool uploaded"))


class AgentList(APIView):
    permissions = {"GET": "agents.view_agent", "POST": "agents.add_agent"}

    @extend_schema(
        tags=["agents"],
        parameters=schema.PAGING,
        responses={200: schema.page(AgentSerializer), **schema.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """All agents, newest first; one page of them when `limit` is given."""
        agents = roster.all_living()
        total = agents.count()
        limit = _whole(request, "limit", total, low=1, high=MAX_PAGE)
        page = _whole(request, "page", 1, low=1, high=10**6)
        start = (page - 1) * limit
        data = AgentSerializer(agents[start : start + limit], many=True, context=_context()).data
        return Response(
            envelope(data, total=total, page=page, limit=limit, has_next=start + limit < total, has_prev=page > 1)
        )

    @extend_schema(
        tags=["agents"],
        request=AgentInputSerializer,
        responses={201: schema.single(AgentSerializer), **schema.errors(400, 401, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Create an agent."""
        serializer = AgentInputSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        agent = roster.create(**serializer.fields_of_agent())
        return Response(envelope(AgentSerializer(agent, context=_context()).data, "Agent created"), status=201)


class AgentDetail(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(tags=["agents"], responses={200: schema.single(AgentSerializer), **schema.errors(401, 404)})
    def get(self, request: Request, agent_id: str) -> Response:
        """One agent."""
        return Response(envelope(AgentSerializer(roster.living(agent_id), context=_context()).data))


class LanguageModelList(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(tags=["models"], parameters=schema.OFFSET, responses={200: schema.MODELS, **schema.errors(400, 401)})
    def get(self, request: Request) -> Response:
        """The models that agents may name."""
        offset = _whole(request, "offset", 0, low=0, high=10**6)
        limit = _whole(request, "limit", 1000, low=1, high=1000)
        names = llm.listed()[offset : offset + limit]
        models = [(name, llm.parse(name)) for name in names]
        data = [
            {"id": llm.model_id(name), "provider": model.provider, "name": model.name, "account_id": None}
            for name, model in models
        ]
        return Response(envelope(data))


class McpList(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(tags=["mcps"], responses={200: schema.EMPTY, **schema.errors(401)})
    def get(self, request: Request) -> Response:
        """MCP servers: this server has none."""
        return Response(envelope([]))


def _whole(request: Request, name: str, default: int, *, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ParseError(f"{name} must be a whole number from {low} to {high}.")
    return int(text)

"""REST for tools, agents and models. A view checks, calls one verb, and renders."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.lookups import Exact
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import llm, roster, runs, toolbox
from agents.descriptions import ToolRejected
from agents.models import Agent, Tool
from agents.sandbox import SandboxUnavailable
from agents.serializers import AgentInputSerializer, AgentSerializer, ToolSerializer, ToolUploadSerializer
from aip import schema
from aip.errors import Conflict, Unavailable

MAX_PAGE = 100
EXACT_FILTERS = {"agent_type": "type", "framework": "framework", "version": "version"}
METADATA = "metadata."


def envelope(data: Any, message: str = "ok", **paging: Any) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data, **paging}


def _context() -> dict[str, Any]:
    return {"account_id": roster.account_id()}


class ToolList(APIView):
    permissions = {"GET": "agents.view_tool"}

    @extend_schema(
        operation_id="tools_list",
        tags=["tools"],
        parameters=schema.TOOL_TYPE,
        responses={200: schema.listing(ToolSerializer), **schema.errors(401)},
    )
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
        operation_id="tools_upload",
        tags=["tools"],
        request=ToolUploadSerializer,
        responses={200: schema.single(ToolSerializer), **schema.errors(400, 401, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Upload a Python file with one LangChain tool class."""
        if len(request.FILES.getlist("file")) > 1:
            raise ValidationError({"file": "Send one file; each tool is an upload of its own."})
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
        operation_id="agents_list",
        tags=["agents"],
        parameters=[*schema.PAGING, *schema.FILTERS],
        responses={200: schema.page(AgentSerializer), **schema.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """All agents, newest first; one page of them when `limit` is given."""
        agents = _filtered(request)
        total = agents.count()
        limit = _whole(request, "limit", total, low=1, high=MAX_PAGE)
        page = _whole(request, "page", 1, low=1, high=10**6)
        start = (page - 1) * limit
        data = AgentSerializer(agents[start : start + limit], many=True, context=_context()).data
        return Response(
            envelope(data, total=total, page=page, limit=limit, has_next=start + limit < total, has_prev=page > 1)
        )

    @extend_schema(
        operation_id="agents_create",
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

    @extend_schema(
        operation_id="agents_get",
        tags=["agents"],
        responses={200: schema.single(AgentSerializer), **schema.errors(401, 404)},
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """One agent."""
        return Response(envelope(AgentSerializer(roster.living(agent_id), context=_context()).data))


class RunCancel(APIView):
    permissions = {"POST": "agents.cancel_run"}

    @extend_schema(
        operation_id="runs_cancel",
        tags=["runs"],
        request=None,
        responses={200: schema.CANCELLED, **schema.errors(401, 404, 409)},
    )
    def post(self, request: Request, agent_id: str, run_id: str) -> Response:
        """End a run now. What waits for a person is closed, a tool that runs is ended. 409 when it has ended."""
        run = runs.find(agent_id, run_id)
        try:
            runs.cancel(run.pk, by=request.user.get_username())
        except runs.AlreadyEnded as e:
            raise Conflict(str(e)) from e
        return Response(envelope({"id": str(run.pk), "status": "cancelled"}, "Run cancelled"))


class LanguageModelList(APIView):
    permissions = {"GET": "agents.view_agent"}

    @extend_schema(
        operation_id="models_list",
        tags=["models"],
        parameters=schema.OFFSET,
        responses={200: schema.MODELS, **schema.errors(400, 401)},
    )
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

    @extend_schema(operation_id="mcps_list", tags=["mcps"], responses={200: schema.EMPTY, **schema.errors(401)})
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


def _filtered(request: Request) -> QuerySet[Agent]:
    """The living agents that the query parameters of contract 4.1 ask for."""
    given = {key: str(value) for key, value in request.query_params.items() if value}
    if any("\0" in text for pair in given.items() for text in pair):
        raise ParseError("The query holds a NUL character (%00); remove it.")
    agents = roster.all_living().filter(name__icontains=given.get("name", ""))
    for parameter, column in EXACT_FILTERS.items():
        if parameter in given:
            agents = agents.filter(**{column: given[parameter]})
    for column in ("created_at", "updated_at"):
        if start := given.get(f"{column}_start"):
            agents = agents.filter(**{f"{column}__gte": _moment(f"{column}_start", start)})
        if end := given.get(f"{column}_end"):
            whole_day = timedelta(days=1, microseconds=-1) if len(end) == len("2025-10-14") else timedelta()
            agents = agents.filter(**{f"{column}__lte": _moment(f"{column}_end", end) + whole_day})
    for parameter, value in given.items():
        if parameter.startswith(METADATA):
            agents = agents.filter(Exact(KeyTextTransform(parameter.removeprefix(METADATA), "metadata"), value))
    return agents


def _moment(name: str, text: str) -> datetime:
    try:
        # A plus sign that was not escaped arrives as a space.
        found = datetime.fromisoformat(text[:10] + text[10:].replace(" ", "+"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParseError(f"{name} must be a date or time such as 2025-10-14 or 2025-10-14T01:56:22Z.") from None

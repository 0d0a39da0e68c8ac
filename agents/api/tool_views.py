"""REST for tools. A view checks, calls one verb, and renders."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.envelope import envelope
from agents.api.query_serializers import ToolQuery
from agents.api.tool_serializers import (
    CUSTOM,
    NATIVE,
    ToolInputSerializer,
    ToolReuploadSerializer,
    ToolScriptSerializer,
    ToolSerializer,
    ToolUploadSerializer,
)
from agents.catalog import agents as agent_catalog
from agents.catalog import tools as tool_catalog
from agents.models import Gate, Tool
from aip.core import openapi
from aip.core.exceptions import Invalid, NotFound

REPLACES = (
    "Calls of a deleted tool of this name waited for a person, so each call of this one waits too: its gate is 'ask'. "
    'To have it wait only where its agents say so: PUT /tools/{tool.pk} with {{"gate": "agent"}}.'
)


def _response(tool: Tool, message: str = "ok") -> Response:
    return Response(envelope(ToolSerializer(tool, context={"account_id": agent_catalog.account_id()}).data, message))


def _uploaded(request: Request, serializer: ToolUploadSerializer) -> dict[str, Any]:
    """The one file of a form and its other fields, as arguments of the catalog's verbs."""
    if len(request.FILES.getlist("file")) > 1:
        raise Invalid({"file": "Send one file; each tool is an upload of its own."})
    serializer.is_valid(raise_exception=True)
    fields = dict(serializer.validated_data)
    file = fields.pop("file")
    return {"source": file.read(), "file_name": file.name, **fields}


def _which(tool: Tool) -> str:
    """What of its file a tool is, where that is no class."""
    match tool.current.manifest.get("kind"):
        case "function":
            return f": {tool.current.object_name}, a function of @tool or a structured tool"
        case "object":
            return f": the object {tool.current.object_name}"
        case _:
            return ""


class ToolList(APIView):
    permissions = {"GET": "agents.view_tool", "POST": "agents.add_tool"}

    @extend_schema(
        operation_id="tools_list",
        tags=["tools"],
        parameters=[ToolQuery],
        responses={200: openapi.listing(ToolSerializer), **openapi.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """All tools, newest first; those of the type `native` come with the server."""
        tools, kind = tool_catalog.all_living(), ToolQuery.read(request.query_params).get("type")
        if kind:
            tools = tools.filter(is_native=kind == NATIVE) if kind in (CUSTOM, NATIVE) else tools.none()
        return Response(
            envelope(ToolSerializer(tools, many=True, context={"account_id": agent_catalog.account_id()}).data)
        )

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        raise NotFound("A tool is made from a file here: send it to /tools/upload.")


class ToolUpload(APIView):
    permissions = {"POST": "agents.add_tool"}
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="tools_upload",
        tags=["tools"],
        request=ToolUploadSerializer,
        responses={200: openapi.single(ToolSerializer), **openapi.errors(400, 401, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Upload a Python file with a LangChain tool: a class, a function of `@tool`, or an object.

        `object` says which one, where the file has several; without it `name` does, by the tool's own name. A tool that
        replaces a deleted one whose calls waited for a person starts with the gate `ask`; `message` says so.
        """
        form = _uploaded(request, ToolUploadSerializer(data=request.data))
        defaults: dict[str, Any] = {"name": None, "description": None, "tags": []}
        agent_catalog.account_id()  # before the write: its docstring says why
        tool = tool_catalog.upload(**defaults | form)
        is_replacement = tool.gate == Gate.ASK and "gate" not in form
        replaces = f". {REPLACES.format(tool=tool)}" if is_replacement else ""
        return _response(tool, f"Tool uploaded{_which(tool)}{replaces}")


class ToolUploadAgain(APIView):
    permissions = {"PUT": "agents.change_tool"}
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="tools_upload_again",
        tags=["tools"],
        request=ToolReuploadSerializer,
        responses={200: openapi.single(ToolSerializer), **openapi.errors(400, 401, 404, 409, 413, 415)},
    )
    def put(self, request: Request, tool_id: str) -> Response:
        """Give a tool a new version, for later runs; runs under way keep the version that they began with.

        409 where an agent would come to have two tools that call themselves alike.
        """
        form = _uploaded(request, ToolReuploadSerializer(data=request.data))
        return _response(tool_catalog.upload_again(tool_id, **form), "Tool updated")


class ToolDetail(APIView):
    permissions = {"GET": "agents.view_tool", "PUT": "agents.change_tool", "DELETE": "agents.delete_tool"}

    @extend_schema(
        operation_id="tools_get",
        tags=["tools"],
        responses={200: openapi.single(ToolSerializer), **openapi.errors(401, 404)},
    )
    def get(self, request: Request, tool_id: str) -> Response:
        """One tool."""
        return _response(tool_catalog.living(tool_id))

    @extend_schema(
        operation_id="tools_update",
        tags=["tools"],
        request=ToolInputSerializer,
        responses={200: openapi.single(ToolSerializer), **openapi.errors(400, 401, 404, 409, 413, 415)},
    )
    def put(self, request: Request, tool_id: str) -> Response:
        """Change what is said of a tool; what is not sent stays. `PUT /tools/{tool_id}/upload` changes its code."""
        serializer = ToolInputSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return _response(tool_catalog.change(tool_id, **serializer.fields_of_tool()), "Tool updated")

    @extend_schema(
        operation_id="tools_delete",
        tags=["tools"],
        responses={204: openapi.DELETED, **openapi.errors(401, 404, 409)},
    )
    def delete(self, request: Request, tool_id: str) -> Response:
        """Delete a tool: agents have it no more, and its calls in runs under way do not run."""
        tool_catalog.delete(tool_id)
        return Response(status=204)


class ToolScript(APIView):
    permissions = {"GET": "agents.view_tool"}

    @extend_schema(
        operation_id="tools_script",
        tags=["tools"],
        responses={200: openapi.single(ToolScriptSerializer), **openapi.errors(401, 404)},
    )
    def get(self, request: Request, tool_id: str) -> Response:
        """The source of a tool's current version."""
        return Response(envelope({"script": tool_catalog.living(tool_id).current.source}))

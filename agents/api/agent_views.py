"""REST for agents. A view checks, calls one verb, and renders."""

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.agent_serializers import AgentInputSerializer, AgentSerializer, WrittenAgentSerializer
from agents.api.envelope import envelope, paging
from agents.api.misspelt_keys import misspelt
from agents.api.query_serializers import METADATA_FILTER, AgentQuery
from agents.catalog import agents as agent_catalog
from agents.catalog import gates, settings_check
from agents.models import Agent
from aip.core import openapi


def _enveloped(agent: Agent, message: str = "ok") -> dict[str, Any]:
    return envelope(AgentSerializer(agent, context={"account_id": agent_catalog.account_id()}).data, message)


def _written(request: Request, message: str, after: Agent, *, before: Agent | None = None) -> dict[str, Any]:
    """The answer to a change, with what may not have been meant. `before` is the agent as it was."""
    tools = gates.tools_of(after)
    answer = _enveloped(after, message)
    answer["data"] |= {
        "warnings": [
            *misspelt(cast(dict[str, Any], request.data), AgentInputSerializer().fields),
            *gates.warnings(before, after, tools),
        ],
        "ungated": gates.ungated(after, tools),
    }
    return answer


class AgentList(APIView):
    permissions = {"GET": "agents.view_agent", "POST": "agents.add_agent"}

    @extend_schema(
        operation_id="agents_list",
        tags=["agents"],
        parameters=[AgentQuery, METADATA_FILTER],
        responses={200: openapi.page(AgentSerializer), **openapi.errors(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """All agents, newest first; one page of them when `limit` is given."""
        query = AgentQuery.read(request.query_params)
        asked, page = query.pop("limit", None), query.pop("page")
        agents = agent_catalog.search(**query)
        # Without a limit the total is the number of rows read: after a count, a new agent would push out the oldest.
        found = agents if asked else list(agents)
        total = agents.count() if asked else len(found)
        limit = asked or total
        start = (page - 1) * limit
        context = {"account_id": agent_catalog.account_id()}
        data = AgentSerializer(found[start : start + limit], many=True, context=context).data
        return Response(envelope(data, **paging(total, page, limit)))

    @extend_schema(
        operation_id="agents_create",
        tags=["agents"],
        request=AgentInputSerializer,
        responses={201: openapi.single(WrittenAgentSerializer), **openapi.errors(400, 401, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Create an agent. `ungated` names its tools that run unasked, `warnings` what may not have been meant."""
        return Response(settings_check.checked_first(lambda checked: self._create(request, checked)), status=201)

    def _create(self, request: Request, checked: settings_check.Checked) -> dict[str, Any]:
        serializer = AgentInputSerializer(data=request.data)
        with agent_catalog.account_locked():
            serializer.is_valid(raise_exception=True)
            fields = serializer.fields_of_agent()
            settings_check.require(checked, None, **fields)
            return _written(request, "Agent created", agent_catalog.create(**fields))


class AgentDetail(APIView):
    permissions = {
        "GET": "agents.view_agent",
        "PUT": "agents.change_agent",
        "PATCH": "agents.change_agent",
        "DELETE": "agents.delete_agent",
    }

    @extend_schema(
        operation_id="agents_get",
        tags=["agents"],
        responses={200: openapi.single(AgentSerializer), **openapi.errors(401, 404)},
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """One agent."""
        return Response(_enveloped(agent_catalog.living(agent_id)))

    @extend_schema(
        operation_id="agents_replace",
        tags=["agents"],
        request=AgentInputSerializer,
        responses={200: openapi.single(WrittenAgentSerializer), **openapi.errors(400, 401, 404, 413, 415)},
    )
    def put(self, request: Request, agent_id: str) -> Response:
        """Replace an agent for its later runs; a field that is left out is as for an agent that was created without.

        What may not have been meant, such as a gate that is gone, is named in `warnings`. A model that is named by
        `provider` and `model_name` comes back in `agent_config`, and keeps the `lm_base_url` that it had.
        """
        return self._answer_to_change(request, agent_id, partial=False)

    @extend_schema(
        operation_id="agents_update",
        tags=["agents"],
        request=AgentInputSerializer,
        responses={200: openapi.single(WrittenAgentSerializer), **openapi.errors(400, 401, 404, 413, 415)},
    )
    def patch(self, request: Request, agent_id: str) -> Response:
        """Change the fields that are sent, for later runs; `null` clears one, `[]` empties a list.

        `agent_config` and `tool_configs` are replaced as wholes, but for the gates: `hitl_enabled` and a tool's
        `hitl` stay until they are sent as `false` and `null`. The model stays where the request names none.
        """
        return self._answer_to_change(request, agent_id, partial=True)

    def _answer_to_change(self, request: Request, agent_id: str, *, partial: bool) -> Response:
        def change(checked: settings_check.Checked) -> dict[str, Any]:
            data = request.data
            with agent_catalog.editing(agent_id) as before:
                serializer = AgentInputSerializer(before, data=data, partial=partial)
                serializer.is_valid(raise_exception=True)
                fields = serializer.fields_of_agent()
                settings_check.require(checked, before, **fields)
                after = agent_catalog.change(before, **fields)
                return _written(request, "Agent updated", after, before=before)

        return Response(settings_check.checked_first(change))

    @extend_schema(
        operation_id="agents_delete",
        tags=["agents"],
        responses={204: openapi.DELETED, **openapi.errors(401, 404)},
    )
    def delete(self, request: Request, agent_id: str) -> Response:
        """Delete an agent. It can be restored; its runs go on and stay to be read."""
        agent_catalog.delete(agent_id)
        return Response(status=204)


class AgentRestore(APIView):
    permissions = {"POST": "agents.delete_agent"}

    @extend_schema(
        operation_id="agents_restore",
        tags=["agents"],
        request=None,
        responses={200: openapi.single(AgentSerializer), **openapi.errors(401, 404, 409)},
    )
    def post(self, request: Request, agent_id: str) -> Response:
        """Bring a deleted agent back, without the tools that were deleted meanwhile."""
        return Response(_enveloped(agent_catalog.restore(agent_id), "Agent restored"))

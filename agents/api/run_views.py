"""REST for runs: their history, one of them, and ending one. `agents.api.stream` starts and follows them."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.envelope import envelope, paging
from agents.api.openapi import CANCELLED, RESUMED
from agents.api.query_serializers import RunQuery
from agents.api.run_serializers import RunDetailSerializer, RunSerializer
from agents.runs import lifecycle, queries, resumption
from aip.core import openapi


class RunList(APIView):
    permissions = {"GET": "agents.view_run"}

    @extend_schema(
        operation_id="runs_list",
        tags=["runs"],
        parameters=[RunQuery],
        responses={200: openapi.page(RunSerializer), **openapi.errors(400, 401, 404)},
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """One page of an agent's runs, newest first; also of an agent that was deleted."""
        query = RunQuery.read(request.query_params)
        limit, page = query["limit"], query["page"]
        scheduled = "schedule_id" in query or query.get("run_type") == "schedule"
        found = queries.of_agent(agent_id, status=query.get("status"), scheduled=scheduled)
        total = found.count()
        data = RunSerializer(queries.page_of(found, (page - 1) * limit, limit), many=True).data
        return Response(envelope(data, **paging(total, page, limit)))


class RunDetail(APIView):
    permissions = {"GET": "agents.view_run"}

    @extend_schema(
        operation_id="runs_get",
        tags=["runs"],
        responses={200: openapi.single(RunDetailSerializer), **openapi.errors(401, 404)},
    )
    def get(self, request: Request, agent_id: str, run_id: str) -> Response:
        """One run, with the events of its stream so far and, where the model counted them, the tokens it used."""
        return Response(envelope(RunDetailSerializer(queries.detail(agent_id, run_id)).data))


class RunCancel(APIView):
    permissions = {"POST": "agents.cancel_run"}

    @extend_schema(
        operation_id="runs_cancel",
        tags=["runs"],
        request=None,
        responses={200: CANCELLED, **openapi.errors(401, 404, 409)},
    )
    def post(self, request: Request, agent_id: str, run_id: str) -> Response:
        """End a run now. What waits for a person is closed, a tool that runs is ended. 409 when it has ended."""
        run = lifecycle.find(agent_id, run_id)
        lifecycle.cancel(run.pk, by=request.user.get_username())
        return Response(envelope({"id": str(run.pk), "status": "cancelled"}, "Run cancelled"))


class RunResume(APIView):
    permissions = {"POST": "agents.resume_run"}

    @extend_schema(
        operation_id="runs_resume",
        tags=["runs"],
        request=None,
        responses={200: RESUMED, **openapi.errors(401, 404, 409)},
    )
    def post(self, request: Request, agent_id: str, run_id: str) -> Response:
        """Let a run go on that failed for its model's sake or at its step limit; follow it by its stream.

        What ran is not repeated. Calls that nobody had decided, or that had not begun, are asked about again. 409 when
        it did not fail so, when its state is no longer kept, and when it goes on already.
        """
        run = lifecycle.find(agent_id, run_id)
        resumption.resume(run.pk, by=request.user.get_username())
        return Response(envelope({"id": str(run.pk), "status": "started"}, "Run resumed"))

"""REST for approvals: what waits, and deciding it."""

from uuid import UUID

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aip import schema
from aip.errors import Conflict
from hitl import approvals
from hitl.models import Source, Status
from hitl.serializers import DecidedSerializer, DecisionSerializer, PendingSerializer


class Pending(APIView):
    permissions = {"GET": "hitl.view_approvalrequest"}

    @extend_schema(
        operation_id="approvals_pending",
        tags=["approvals"],
        responses={200: PendingSerializer(many=True), **schema.errors(401)},
    )
    def get(self, request: Request) -> Response:
        """The requests that wait for a person now; the next to expire comes first."""
        return Response(PendingSerializer(approvals.pending(), many=True).data)


class Decide(APIView):
    permissions = {"POST": "hitl.decide_approvalrequest"}

    @extend_schema(
        operation_id="approvals_decide",
        tags=["approvals"],
        request=DecisionSerializer,
        responses={200: DecidedSerializer, **schema.errors(400, 401, 404, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Decide a request. The first decision stands; 409 says who was faster."""
        serializer = DecisionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        assert isinstance(request.user, User)  # noqa: S101 - the only authentication there is gives one
        try:
            decision = approvals.decide(
                _request_id(given["request_id"]),
                decision=Status(given["decision"]),
                by=request.user,
                source=Source.API,
                note=given.get("operator_input") or "",
                client_run_id=given.get("run_id") or "",
            )
        except approvals.UnknownRequest as e:
            raise NotFound(str(e)) from e
        except approvals.AlreadyClosed as e:
            raise Conflict(str(e)) from e
        return Response({"status": "ok", "message": f"The request was {decision.decision}."})


def _request_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"No approval request has the id {text}.") from None

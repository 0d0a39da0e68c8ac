"""REST for approvals: what waits, deciding it, and giving it more time."""

from uuid import UUID

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aip.core import openapi
from hitl import approvals
from hitl.api.serializers import (
    DecidedSerializer,
    DecisionSerializer,
    ExtendedSerializer,
    ExtensionSerializer,
    PendingSerializer,
)
from hitl.exceptions import UnknownRequest
from hitl.models import Source, Status


def _user(request: Request) -> User:
    assert isinstance(request.user, User)  # noqa: S101 - the only authentication there is gives one
    return request.user


def _request_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UnknownRequest(f"No approval request has the id {text}.") from None


class Pending(APIView):
    permissions = {"GET": "hitl.view_approvalrequest"}

    @extend_schema(
        operation_id="approvals_pending",
        tags=["approvals"],
        responses={200: PendingSerializer(many=True), **openapi.errors(401)},
    )
    def get(self, request: Request) -> Response:
        """The requests that wait for a person now; the next to expire comes first."""
        waiting = approvals.pending().defer("context", "args_schema", "model_arguments")
        return Response(PendingSerializer(waiting, many=True).data)


class Decide(APIView):
    permissions = {"POST": "hitl.decide_approvalrequest"}

    @extend_schema(
        operation_id="approvals_decide",
        tags=["approvals"],
        request=DecisionSerializer,
        responses={200: DecidedSerializer, **openapi.errors(400, 401, 404, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        """Decide a request, and hear what will run. The first decision stands; 409 says who was faster.

        400 and 409 decide nothing: the request stays pending.
        """
        serializer = DecisionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        decision = approvals.decide(
            _request_id(data["request_id"]),
            decision=Status(data["decision"]),
            by=_user(request),
            source=Source.API,
            note=data.get("operator_input") or "",
            client_run_id=data.get("run_id") or "",
            arguments=data.get("arguments"),
            answer=data.get("answer"),
            seal=data.get("seal") or "",
            stop_run=bool(data.get("stop_run")),
        )
        return Response(DecidedSerializer(decision).data)


class Extend(APIView):
    permissions = {"POST": "hitl.decide_approvalrequest"}

    @extend_schema(
        operation_id="approvals_extend",
        tags=["approvals"],
        request=ExtensionSerializer,
        responses={200: ExtendedSerializer, **openapi.errors(400, 401, 404, 409, 413, 415)},
    )
    def post(self, request: Request, request_id: str) -> Response:
        """Give a pending request more time: its deadline moves by so many seconds. 409 when it is closed."""
        serializer = ExtensionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        seconds = serializer.validated_data["seconds"]
        extended = approvals.extend(_request_id(request_id), seconds=seconds, by=_user(request), source=Source.API)
        return Response(ExtendedSerializer(extended).data)

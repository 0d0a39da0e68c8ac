"""Earlier decisions about a request's tool, for the operator who decides it now."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from hitl.approvals import DECIDABLE
from hitl.console.diff import Change, differences
from hitl.labels import OUTCOME, RequestWithOutcome
from hitl.models import ApprovalRequest, Status

EARLIER = 5


@dataclass(frozen=True)
class Precedent:
    """The last approved call of the same tool, and what is different in the arguments that are asked about now."""

    request: ApprovalRequest
    changes: list[Change]


def changes_since(request: ApprovalRequest) -> Precedent | None:
    """Compared with what ran then, an operator's edit included. One statement; None for the first call of a tool."""
    last = _decided_before(request).filter(status=Status.APPROVED).first()
    return Precedent(last, differences(last.to_run, request.arguments)) if last else None


# The source of a version of a tool, by its digest; "" where it is not known.
SourceOf = Callable[[str], str]
_source_of: SourceOf | None = None


def register(source_of: SourceOf) -> None:
    """Whoever has the tools can say what their code was."""
    global _source_of
    _source_of = source_of


def code_changes(request: ApprovalRequest) -> list[Change]:
    """What has changed in the tool's code since its last approved call, if anything has."""
    last = _decided_before(request).filter(status=Status.APPROVED).values_list("tool_version", flat=True).first()
    if last is None or last == request.tool_version or _source_of is None:
        return []
    return differences({"code": _source_of(last)}, {"code": _source_of(request.tool_version)})


def earlier_decisions(request: ApprovalRequest) -> list[RequestWithOutcome]:
    """The last calls of the same tool that people decided, each with its decision. One statement."""
    found = _decided_before(request).annotate(detailed_outcome=OUTCOME)
    return list(found.defer("arguments", "model_arguments", "decision__arguments", "decision__answer")[:EARLIER])


def _decided_before(request: ApprovalRequest) -> QuerySet[ApprovalRequest]:
    """Served by the index `decided_calls_of_a_tool`."""
    before = Q(closed_at__lt=request.closed_at) if request.closed_at else Q()
    found = ApprovalRequest.objects.filter(before, tool_id=request.tool_id, status__in=DECIDABLE)
    found = found.exclude(pk=request.pk).order_by("-closed_at").select_related("decision")
    return found.defer("context", "args_schema", "output")

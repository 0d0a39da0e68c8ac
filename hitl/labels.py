"""The outcome of a request, in more detail than the API has it, and the labels that people read."""

from typing import TypedDict

from django.db.models import Case, CharField, F, JSONField, Q, Value, When
from django.db.models.functions import Coalesce

from aip.core.annotated import WithAnnotations
from hitl.models import ANSWERED, ApprovalRequest, Decision, Source, Status

APPROVED_WITH_CHANGES = "approved with changes"
# As `ApprovalRequest.operators_arguments` has it: what ran is an operator's, of this round or of an earlier one.
WAS_EDITED = Q(Q(decision__arguments__isnull=False) | Q(model_arguments__isnull=False), status=Status.APPROVED)
OUTCOME = Case(
    When(decision__answer__isnull=False, then=Value(ANSWERED)),
    When(WAS_EDITED, then=Value(APPROVED_WITH_CHANGES)),
    default=F("status"),
    output_field=CharField(),
)


class OutcomeColumns(TypedDict):
    """What `OUTCOME` is read as: a status, `answered` or `approved with changes`."""

    detailed_outcome: str


RequestWithOutcome = WithAnnotations[ApprovalRequest, OutcomeColumns]

# Both versions of what was changed, as `asked_arguments` and `to_run` have them; null where nothing was.
ARGUMENTS_ASKED = Case(When(WAS_EDITED, then=Coalesce("model_arguments", "arguments")), output_field=JSONField())
ARGUMENTS_RUN = Case(When(WAS_EDITED, then=Coalesce("decision__arguments", "arguments")), output_field=JSONField())

LABELS: dict[str, str] = {
    Status.PENDING: "Waiting",
    Status.APPROVED: "Approved",
    APPROVED_WITH_CHANGES: "Approved with changes",
    ANSWERED: "Answered",
    Status.REJECTED: "Rejected",
    Status.SKIPPED: "Skipped",
    Status.TIMEOUT_SKIP: "Out of time",
    Status.CANCELLED: "Cancelled",
}
SOURCE_LABELS: dict[str, str] = {
    Source.CONSOLE: "in the console",
    Source.API: "over the API",
    Source.TIMEOUT: "by the clock",
}

NO_DECISION = Decision()


def decision_of(request: ApprovalRequest) -> Decision:
    """An empty one where there is none."""
    return request.decided or NO_DECISION

"""Why a request cannot be decided as somebody wants. Nothing was changed then."""

from typing import Any

from aip.core.exceptions import Conflict, Invalid, NotFound
from hitl.models import SHORT_SEAL, ApprovalRequest, Status


class UnknownRequest(NotFound):
    """No approval request has this id."""


class AlreadyClosed(Conflict):
    """The request was decided or ran out of time before; says who, what and when."""

    def __init__(self, request: ApprovalRequest) -> None:
        self.request = request
        super().__init__(describe_closing(request))


class StaleSeal(Conflict):
    """What is pending is not the call that the decision names."""

    def __init__(self, request: ApprovalRequest, seal: str) -> None:
        self.request = request
        super().__init__(
            f"This request is about the call with the seal {request.short_seal}, and the decision names "
            f"{seal[:SHORT_SEAL]}: it is not the call that you saw. Nothing was decided; read it again."
        )


class InvalidDecision(Invalid):
    """What was given does not go together, or is not what the tool takes.

    `errors` says what is wrong by field; those of `arguments` by the name of the argument.
    """

    errors: dict[str, Any]

    def __init__(self, **errors: Any) -> None:
        super().__init__(errors)


def describe_closing(request: ApprovalRequest) -> str:
    """Who closed a request, how and when, as one sentence."""
    if request.status == Status.PENDING:
        return f"This request ran out of time at {request.timeout_at.isoformat()}; the step is skipped."
    at = request.closed_at.isoformat() if request.closed_at else ""
    if request.decided and request.decided.is_of_runs_limit:
        return f"This request ended at {at} with its run, which failed at its own limit of time."
    if request.status == Status.TIMEOUT_SKIP:
        return f"This request ran out of time at {at}; the step was skipped."
    if request.status == Status.CANCELLED:
        return f"This request was cancelled at {at}: its run ended, or its tool was deleted."
    return f"This request was already {request.outcome} by {request.decision.decided_by_name} at {at}."

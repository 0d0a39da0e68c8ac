"""What a decision may carry, and exactly which call it lets run."""

from typing import Any

from aip.core.jsonb import canonical
from hitl import argument_schema as schemas
from hitl.exceptions import InvalidDecision, StaleSeal
from hitl.models import SHORT_SEAL, ApprovalRequest, Status
from hitl.seal import Arguments, seal

MAX_ANSWER = 100_000
NO_ANSWER = "An answer needs a text; to skip without one, leave it out."


def check_seal(row: ApprovalRequest, given: str) -> None:
    """Whether `given` is the seal of what is pending, whole or its first eight characters or more. Raises StaleSeal."""
    if given and not (len(given) >= SHORT_SEAL and row.seal.startswith(given.lower())):
        raise StaleSeal(row, given)


def check_extras(decision: Status, arguments: Arguments | None, answer: str | None) -> None:
    """Raises InvalidDecision."""
    if arguments is not None and decision != Status.APPROVED:
        raise InvalidDecision(arguments=f"Arguments go with 'approved' alone; with '{decision}' nothing runs.")
    if answer is None:
        return
    if decision != Status.SKIPPED:
        raise InvalidDecision(answer="An answer goes with 'skipped' alone: it stands in place of the tool's result.")
    if not answer.strip():
        raise InvalidDecision(answer=NO_ANSWER)
    if len(answer) > MAX_ANSWER:
        raise InvalidDecision(answer=f"The answer has {len(answer):,} characters; {MAX_ANSWER:,} are allowed.")


def check_arguments(row: ApprovalRequest, arguments: Arguments) -> None:
    """Whether the tool takes them; what was asked about may run as it is. Takes its time. Raises InvalidDecision."""
    given = schemas.settled(arguments)
    if canonical(given) == canonical(row.arguments):
        return
    if wrong := schemas.check(row.args_schema, given, row.arguments):
        raise InvalidDecision(arguments=wrong)


def what_runs(row: ApprovalRequest, arguments: Arguments | None) -> dict[str, Any]:
    """What an approval covers: the call as it was asked about, or with other arguments, which were checked."""
    given = None if arguments is None else schemas.settled(arguments)
    if given is None or canonical(given) == canonical(row.arguments):
        return {"seal": row.seal}
    return {"seal": _sealed_with(row, given), "arguments": given}


def _sealed_with(request: ApprovalRequest, arguments: Arguments) -> str:
    """The seal of the call of a request with other arguments."""
    return seal(
        tool_id=request.tool_id,
        tool_version=request.tool_version,
        tool_name=request.tool_name,
        arguments=arguments,
        agent_id=request.agent_id,
        run_id=request.run_id,
        checkpoint_ns=request.checkpoint_ns,
    )


MAX_NOTE = 20_000


SEAL = f"^[0-9a-fA-F]{{{SHORT_SEAL},64}}$"

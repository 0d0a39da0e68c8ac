"""What a decision may contain, and exactly which call it lets run."""

from typing import Any

from aip.core.jsonb import canonical
from hitl import argument_check, argument_schema
from hitl.exceptions import InvalidDecision, StaleSeal
from hitl.models import SHORT_SEAL, ApprovalRequest, Status
from hitl.seal import Arguments, seal

MAX_ANSWER = 100_000
MAX_NOTE = 20_000
SEAL_PATTERN = f"^[0-9a-fA-F]{{{SHORT_SEAL},64}}$"
NO_ANSWER = "An answer needs a text; to skip without one, leave it out."


def check_seal(row: ApprovalRequest, seal: str) -> None:
    """Whether `seal` is that of what is pending, whole or its first eight characters or more. Raises StaleSeal."""
    if seal and not (len(seal) >= SHORT_SEAL and row.seal.startswith(seal.lower())):
        raise StaleSeal(row, seal)


def check_extras(decision: Status, arguments: Arguments | None, answer: str | None, *, stop_run: bool = False) -> None:
    """Raises InvalidDecision."""
    if arguments is not None and decision != Status.APPROVED:
        raise InvalidDecision(arguments=f"Arguments go with 'approved' alone; with '{decision}' nothing runs.")
    if stop_run and decision != Status.REJECTED:
        raise InvalidDecision(stop_run="The run can be stopped with 'rejected' alone.")
    if answer is None:
        return
    if decision != Status.SKIPPED:
        raise InvalidDecision(answer="An answer goes with 'skipped' alone: it stands in place of the tool's result.")
    if not answer.strip():
        raise InvalidDecision(answer=NO_ANSWER)
    if len(answer) > MAX_ANSWER:
        raise InvalidDecision(answer=f"The answer has {len(answer):,} characters; {MAX_ANSWER:,} are allowed.")


def check_arguments(row: ApprovalRequest, arguments: Arguments) -> None:
    """Whether the tool accepts them; what was asked about may run as it is. Can be slow. Raises InvalidDecision."""
    stored = argument_schema.as_stored(arguments)
    if canonical(stored) == canonical(row.arguments):
        return
    try:
        errors = argument_schema.unknown(row.args_schema, stored, row.arguments) or argument_check.check(row, stored)
    except argument_check.Unchecked as e:
        raise InvalidDecision(arguments=f"These arguments could not be checked, so nothing was decided: {e}") from e
    if errors:
        raise InvalidDecision(arguments=errors)


def approval_fields(row: ApprovalRequest, arguments: Arguments | None) -> dict[str, Any]:
    """What the Decision of an approval has: the seal of the call as it was asked about, or of the call with other
    arguments, which were checked, and those arguments.
    """
    stored = None if arguments is None else argument_schema.as_stored(arguments)
    if stored is None or canonical(stored) == canonical(row.arguments):
        return {"seal": row.seal}
    return {"seal": _sealed_with(row, stored), "arguments": stored}


def _sealed_with(request: ApprovalRequest, arguments: Arguments) -> str:
    """The seal of the call of a request with other arguments."""
    return seal(
        version=request.seal_version,
        tool_id=request.tool_id,
        tool_version=request.tool_version,
        packages=request.packages,
        tool_name=request.tool_name,
        arguments=arguments,
        default_arguments=request.defaults_beside(arguments),
        settings=request.settings,
        agent_id=request.agent_id,
        run_id=request.run_id,
        checkpoint_ns=request.checkpoint_ns,
    )

"""Whether a tool takes arguments: asked of the tool itself, by whoever has the tools."""

from collections.abc import Callable

from hitl.models import ApprovalRequest
from hitl.schema_process import Errors
from hitl.seal import Arguments


class Unchecked(Exception):
    """The tool's own check did not come to an end; the text says why."""


Check = Callable[[ApprovalRequest, Arguments], Errors]


def _nobody(request: ApprovalRequest, arguments: Arguments) -> Errors:
    raise Unchecked("no tool is known here.")


_check: Check = _nobody


def register(check: Check) -> None:
    """`check` gives what the tool of a request refuses in arguments, by name; it raises Unchecked."""
    global _check
    _check = check


def check(request: ApprovalRequest, arguments: Arguments) -> Errors:
    """What the tool of a request certainly refuses in `arguments`; empty if nothing is. Raises Unchecked."""
    return _check(request, arguments)

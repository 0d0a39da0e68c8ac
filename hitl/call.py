"""A gated call, and what is different in it from the call that was asked about."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aip.core.jsonb import canonical
from hitl.models import SHORT_SEAL, ApprovalRequest
from hitl.seal import VERSION, Arguments, seal

# How much of an argument that changed is named.
CHANGE_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Call:
    """A gated call as the gate meets it: everything its seal covers, and what its request keeps for the operator."""

    tool_id: UUID
    tool_version: str
    tool_name: str
    arguments: dict[str, Any]
    agent_id: UUID
    run_id: UUID
    checkpoint_ns: str
    agent_name: str
    tool_call_id: str
    args_schema: dict[str, Any] = field(default_factory=dict)
    # The tool's own value for each argument that may be left out.
    tool_defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    packages: str = ""
    destructive: bool = False
    requester: str = ""
    warning: str = ""
    seal_version: int = VERSION

    @property
    def default_arguments(self) -> Arguments:
        """The values of the tool's own with which the call runs."""
        return {name: value for name, value in self.tool_defaults.items() if name not in self.arguments}

    @property
    def seal(self) -> str:
        return seal(
            version=self.seal_version,
            tool_id=self.tool_id,
            tool_version=self.tool_version,
            packages=self.packages,
            tool_name=self.tool_name,
            arguments=self.arguments,
            default_arguments=self.default_arguments,
            settings=self.settings,
            agent_id=self.agent_id,
            run_id=self.run_id,
            checkpoint_ns=self.checkpoint_ns,
        )


def changes(request: ApprovalRequest, call: Call) -> str:
    """What is different in `call` from what `request` lets run, in words."""
    pairs = {
        "the tool": (request.tool_name, call.tool_name),
        "the tool's id": (str(request.tool_id), str(call.tool_id)),
        "the version of the tool": (request.tool_version[:SHORT_SEAL], call.tool_version[:SHORT_SEAL]),
        "the agent": (str(request.agent_id), str(call.agent_id)),
        "the tool's packages": (request.packages[:SHORT_SEAL], call.packages[:SHORT_SEAL]),
    }
    found = [f"{name} was {before}, is {after}" for name, (before, after) in pairs.items() if before != after]
    found += _differences(request.to_run, call.arguments)
    found += _differences(request.defaults_beside(request.to_run), call.default_arguments, "the tool's default of ")
    found += _differences(request.settings, call.settings, "the setting ")
    return "; ".join(found) or f"its seal was {request.seal_to_run[:SHORT_SEAL]}, is {call.seal[:SHORT_SEAL]}"


def edits(request: ApprovalRequest) -> str:
    """What an operator changed in the arguments that the model asked with, in words; "" if nothing."""
    edited = request.operators_arguments
    return "" if edited is None else "; ".join(_differences(request.asked_arguments, edited))


def _differences(before: Arguments, after: Arguments, what: str = "the argument ") -> list[str]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = _spelled(before, name), _spelled(after, name)
        if was != now:
            same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
            start = max(0, same - CHANGE_CHARACTERS // 4)
            found.append(f"{what}{name} was {_part(was, start)}, is {_part(now, start)}")
    return found


def _spelled(arguments: Arguments, name: str) -> str:
    return canonical(arguments[name]) if name in arguments else "absent"


def _part(text: str, start: int) -> str:
    """A short text whole; of a long one what begins at `start`, where the other one begins to differ."""
    if len(text) <= CHANGE_CHARACTERS:
        return text
    return f"{'...' if start else ''}{text[start : start + CHANGE_CHARACTERS]}... ({len(text):,} characters)"

"""A gated call, and what is different in it from the call that was asked about."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hitl.models import SHORT_SEAL, ApprovalRequest
from hitl.seal import canonical, seal

# How much of an argument that changed is named.
CHANGE_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Call:
    """A gated call as the gate meets it: everything its seal covers, and the provider's id for it."""

    tool_id: UUID
    tool_version: str
    tool_name: str
    arguments: dict[str, Any]
    agent_id: UUID
    run_id: UUID
    checkpoint_ns: str
    agent_name: str
    tool_call_id: str

    @property
    def seal(self) -> str:
        return seal(
            tool_id=self.tool_id,
            tool_version=self.tool_version,
            tool_name=self.tool_name,
            arguments=self.arguments,
            agent_id=self.agent_id,
            run_id=self.run_id,
            checkpoint_ns=self.checkpoint_ns,
        )


def changes(request: ApprovalRequest, call: Call) -> str:
    """What is different in `call` from what was asked about, in words."""
    pairs = {
        "the tool": (request.tool_name, call.tool_name),
        "the tool's id": (str(request.tool_id), str(call.tool_id)),
        "the version of the tool": (request.tool_version[:SHORT_SEAL], call.tool_version[:SHORT_SEAL]),
        "the agent": (str(request.agent_id), str(call.agent_id)),
    }
    for name in sorted(request.arguments.keys() | call.arguments.keys()):
        pairs[f"the argument {name}"] = (_shown(request.arguments, name), _shown(call.arguments, name))
    found = [f"{name} was {before}, is {after}" for name, (before, after) in pairs.items() if before != after]
    return "; ".join(found) or f"its seal was {request.short_seal}, is {call.seal[:SHORT_SEAL]}"


def _shown(arguments: dict[str, Any], name: str) -> str:
    if name not in arguments:
        return "absent"
    text = canonical(arguments[name])
    return text if len(text) <= CHANGE_CHARACTERS else f"{text[:CHANGE_CHARACTERS]}... ({len(text):,} characters)"

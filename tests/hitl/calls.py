"""Calls to ask about."""

import uuid
from typing import Any

from hitl import approvals
from hitl.call import Call
from hitl.models import ApprovalRequest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["to", "text"],
    "properties": {
        "to": {"type": "string", "pattern": "@"},
        "text": {"type": "string", "maxLength": 200},
        "copies": {"type": "integer", "minimum": 1, "maximum": 3},
        "urgent": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        "weight": {"type": "number"},
    },
}


def a_call(**changes: Any) -> Call:
    fields: dict[str, Any] = {
        "tool_id": uuid.uuid4(),
        "tool_version": "0" * 64,
        "tool_name": "send_mail",
        "arguments": {"to": "jane.doe@example.com", "text": "Welcome"},
        "agent_id": uuid.uuid4(),
        "run_id": uuid.uuid4(),
        "checkpoint_ns": f"tools:{uuid.uuid4()}",
        "agent_name": "recruiter",
        "tool_call_id": "call_1",
        "args_schema": SCHEMA,
    }
    return Call(**fields | changes)


def open_one(*, timeout_seconds: float = 60, **changes: Any) -> ApprovalRequest:
    return approvals.open_request(a_call(**changes), timeout_seconds=timeout_seconds, context={})

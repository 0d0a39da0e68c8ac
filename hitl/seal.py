"""The seal: a fingerprint of exactly one call, so that what was shown is what runs."""

import hashlib
from typing import Any
from uuid import UUID

from aip.core.jsonb import canonical

Arguments = dict[str, Any]


def seal(
    *,
    tool_id: UUID,
    tool_version: str,
    tool_name: str,
    arguments: dict[str, Any],
    agent_id: UUID,
    run_id: UUID,
    checkpoint_ns: str,
) -> str:
    """SHA-256, in hexadecimal, of the call: another argument, tool version or run is another seal."""
    parts = [str(tool_id), tool_version, tool_name, arguments, str(agent_id), str(run_id), checkpoint_ns]
    return hashlib.sha256(canonical(parts).encode("ascii")).hexdigest()

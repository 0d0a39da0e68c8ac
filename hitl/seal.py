"""The seal: a fingerprint of exactly one call, so that what was shown is what runs."""

import hashlib
from typing import Any
from uuid import UUID

from aip.core.jsonb import canonical

Arguments = dict[str, Any]

# What new seals cover. A request keeps the version that it was opened with, and so does every decision about it.
VERSION = 2


def seal(
    *,
    version: int,
    tool_id: UUID,
    tool_version: str,
    packages: str,
    tool_name: str,
    arguments: Arguments,
    default_arguments: Arguments,
    settings: dict[str, Any],
    agent_id: UUID,
    run_id: UUID,
    checkpoint_ns: str,
) -> str:
    """SHA-256, in hexadecimal, of the call: another argument, tool version or run is another seal.

    Version 1 does not cover the tool's packages, the values that it uses for arguments that are left out, nor its
    settings. Secrets among the settings enter by their keyed digest.
    """
    parts: list[Any] = [str(tool_id), tool_version, tool_name, arguments, str(agent_id), str(run_id), checkpoint_ns]
    if version >= 2:
        parts += [version, packages, default_arguments, settings]
    return hashlib.sha256(canonical(parts).encode("ascii")).hexdigest()

"""A tool as a run keeps it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool as a run's spec froze it. `hitl_timeout_seconds` is None for a tool that runs without asking."""

    id: UUID
    version_id: UUID
    digest: str
    name: str
    class_name: str
    description: str
    args_schema: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    hitl_timeout_seconds: float | None = None
    timeout_seconds: float
    idempotent: bool = False
    destructive: bool = False

    @property
    def gated(self) -> bool:
        return self.hitl_timeout_seconds is not None

"""A tool as a run keeps it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from agents.sandbox.manifest import MADE_WHEN_RUN, Manifest


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool as a run's spec froze it. `hitl_timeout_seconds` is None for a tool that runs without asking.

    `fields` are the tool's settings: fields of its class, or of its `tool_config_schema`.
    """

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
    object_name: str = ""
    manifest: Manifest = field(default_factory=Manifest)
    # What agent and run gave the tool, as people are shown it: secrets are masked.
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """The tool's own value for each argument that a call may leave out."""
        made = self.manifest.get("made_when_run", [])
        return self.manifest.get("defaults", {}) | dict.fromkeys(made, MADE_WHEN_RUN)

    @property
    def gated(self) -> bool:
        return self.hitl_timeout_seconds is not None

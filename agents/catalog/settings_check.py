"""Whether a tool's `tool_config_schema` accepts its settings, asked before they are stored or a run starts with them.

The schema is the tool's own code: it runs in the sandbox, while no transaction is open.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from agents.catalog import configs, names, snapshot, tool_code, tool_settings
from agents.catalog.tool_code import ToolGone
from agents.models import Agent, Tool
from agents.sandbox import client as sandbox
from agents.sandbox.client import SandboxUnavailable, ToolCode
from aip.core.db import borrowed_connection
from aip.core.exceptions import Invalid, Unavailable
from aip.core.jsonb import canonical

T = TypeVar("T")
WHOLE = "non_field_errors"  # as the sandbox and DRF call what no single field is to blame for
NO_REASON = "the reason is not shown, because it may repeat a secret"

# What was checked already: the version of a tool, and its settings.
Checked = set[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class ToolSettings:
    tool_id: str
    tool_name: str
    version_id: str
    entries: dict[str, Any]
    secrets: Sequence[str]
    code: Callable[[], ToolCode]

    @property
    def key(self) -> tuple[str, str]:
        return self.version_id, canonical(self.entries)


class NotChecked(Exception):
    """Ends the caller's transaction: what it was to store has to be checked first."""

    def __init__(self, settings: Sequence[ToolSettings]) -> None:
        super().__init__("These settings have to be checked first.")
        self.settings = settings


def checked_first(save: Callable[[Checked], T]) -> T:
    """What `save` returns. It calls `require` in its transaction, and is called again after a check that it lacks.

    Raises Invalid for settings that a tool refuses, and Unavailable.
    """
    checked: Checked = set()
    while True:
        try:
            return save(checked)
        except NotChecked as e:
            needed = e.settings
        for settings in needed:
            if errors := _refused(settings):
                raise Invalid({"tool_configs": {settings.tool_id: errors}})
            checked.add(settings.key)


def require(
    checked: Checked,
    before: Agent | None,
    *,
    tools: list[Tool] | None = None,
    tool_configs: dict[str, Any] | None = None,
    **_fields: Any,
) -> None:
    """Raises NotChecked if these fields change the settings of a tool that has a `tool_config_schema`.

    `before` is the agent as it is, whose tools and settings stay where none are given.
    """
    stored = before.tool_configs if before else {}
    had = {str(entry.tool_id) for entry in before.agent_tools.all()} if before else set()
    after = stored if tool_configs is None else tool_configs
    changed = {
        tool_id
        for tool_id in {*stored, *after}
        if _entries(after, tool_id) != (_entries(stored, tool_id) if tool_id in had else {})
    }
    if not changed:
        return
    if tools is None:
        tools = names.tools_of(before) if before else []
    found = [_of_tool(tool, _entries(after, str(tool.pk))) for tool in tools if _has_schema(tool.current.manifest)]
    if needed := [one for one in found if one.tool_id in changed and one.key not in checked]:
        raise NotChecked(needed)


def check_run(spec: snapshot.Spec) -> None:
    """Check the settings that a run overrides. Raises Invalid, Unavailable."""
    for tool in _tools(spec):
        by_run = any(tool["settings"][name]["set_by"] == "run" for name in tool["fields"])
        if by_run and _has_schema(tool["manifest"]):
            try:
                settings = _of_spec(tool)
            except ToolGone:
                continue  # its calls say so
            if errors := _refused(settings):
                raise Invalid({"runtime_config": {"tool_configs": {settings.tool_id: errors}}})


def _tools(spec: snapshot.Spec) -> Iterator[snapshot.Spec]:
    """The tools of a run's agent and of its sub-agents."""
    yield from spec["tools"]
    for sub in spec["agents"]:
        yield from _tools(sub)


def _entries(tool_configs: dict[str, Any], tool_id: str) -> dict[str, Any]:
    config = tool_configs.get(tool_id) or {}
    return {name: value for name, value in config.items() if name not in configs.RESERVED}


def _has_schema(manifest: dict[str, Any]) -> bool:
    return bool(manifest.get("settings_schema"))


def _of_tool(tool: Tool, entries: dict[str, Any]) -> ToolSettings:
    version = tool.current
    return ToolSettings(
        tool_id=str(tool.pk),
        tool_name=version.tool_name,
        version_id=str(version.pk),
        entries=entries,
        secrets=version.manifest.get("secrets", []),
        code=lambda: tool_code.of_version(version, entries),
    )


def _of_spec(tool: snapshot.Spec) -> ToolSettings:
    """Raises ToolGone."""
    spec = snapshot.thaw(tool)
    source, _ = tool_code.read(UUID(tool["id"]), UUID(tool["version_id"]))
    return ToolSettings(
        tool_id=tool["id"],
        tool_name=spec.name,
        version_id=tool["version_id"],
        entries=spec.fields,
        secrets=spec.manifest.get("secrets", []),
        code=lambda: tool_code.of_spec(spec, source),
    )


def _refused(settings: ToolSettings) -> dict[str, Any]:
    """What the tool refuses, by the name of the setting; {} if it refuses nothing. Raises Unavailable."""
    with borrowed_connection():
        pass  # others can use the request's connection while the tool's code runs
    try:
        errors = sandbox.check_settings(settings.code())
    except sandbox.Unchecked as e:
        reason = _without_secrets(settings, WHOLE, str(e))
        return {WHOLE: f"The settings of the tool {settings.tool_name} could not be checked: {reason}"}
    except SandboxUnavailable as e:
        raise Unavailable(str(e)) from e
    return {
        name: [
            f"The tool {settings.tool_name} refuses this: {_without_secrets(settings, name, text)}" for text in texts
        ]
        for name, texts in errors.items()
    }


def _without_secrets(settings: ToolSettings, name: str, reason: str) -> str:
    """A validator of the tool's author may repeat in its reason what it was given."""
    if tool_settings.is_secret(name, settings.secrets):
        return NO_REASON
    said = reason.casefold()
    secret = tool_settings.secret_texts(settings.entries, settings.secrets)
    return NO_REASON if any(text[:6].casefold() in said for text in secret if text) else reason

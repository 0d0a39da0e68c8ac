"""What an uploaded file says of its tool, checked."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from agents.sandbox.tool_schema import Resolver, SchemaTooLarge

MAX_TOOL_NAME = 64
# What model providers accept as the name of a function.
TOOL_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TOOL_NAME}}}")
MAX_CLASS_NAME = 255
# The value of an argument that is made by a factory, for people.
MADE_WHEN_RUN = "made when it runs"
INTERFERES = "The file interferes with being described: keep it to a tool and what it needs."


class ToolRejected(Exception):
    """An upload cannot become a tool; the text tells its author what to change."""


class Manifest(TypedDict, total=False):
    """What an upload learned of a tool beside what its model is told.

    `kind`: whether it is a `class`, a `function` (of @tool, or a StructuredTool) or another `object`.
    `defaults`: the value of each argument that a call may leave out; `made_when_run`: the arguments whose value each
    call makes. `injected`: the arguments that the server gives, and what. `has_model`: a model of the tool's own checks
    its arguments; `schema_settles`: arguments that fit the JSON Schema certainly fit the tool. `settings_schema`: the
    JSON Schema of its `tool_config_schema`; `secrets`: the settings that are secret by their type. `packages`: what it
    declares, and the exact set that this came to, or None.
    """

    kind: str
    is_async: bool
    defaults: dict[str, Any]
    made_when_run: list[str]
    injected: dict[str, str]
    has_model: bool
    schema_settles: bool
    settings_schema: dict[str, Any] | None
    secrets: list[str]
    packages: "Packages | None"


class Resolved(TypedDict):
    """One package of a set; `hashes` are those of its wheels."""

    name: str
    version: str
    hashes: list[str]


class Packages(TypedDict):
    """What a file declares, what that came to, and the name of the set. `resolved` may be empty."""

    requires_python: str
    declared: list[str]
    resolved: list[Resolved]
    key: str


# What the file's own process says; the packages are the server's word.
SHAPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "is_async": bool,
    "defaults": dict,
    "made_when_run": list,
    "injected": dict,
    "has_model": bool,
    "schema_settles": bool,
    "settings_schema": (dict, type(None)),
    "secrets": list,
}


@dataclass(frozen=True)
class Description:
    """What an uploaded file says of its tool.

    `object_name` is the tool's attribute in the module, `args_schema` the arguments' JSON Schema. `manifest` holds what
    the server has to know to run it (see `Manifest`).
    """

    class_name: str
    name: str
    description: str
    args_schema: dict[str, Any]
    object_name: str
    manifest: Manifest


def checked(text: str) -> Description:
    """A description as the sandbox gave it. Raises ToolRejected.

    Checked here and not where the file runs, since the file could change the checks there.
    """
    try:
        made = Description(**json.loads(text))
        storable = _is_storable(made)
    except (ValueError, TypeError, RecursionError) as e:
        raise ToolRejected(INTERFERES) from e
    if not isinstance(made.name, str) or not TOOL_NAME.fullmatch(made.name):
        raise ToolRejected(
            f"The tool's name {made.name!r:.100} cannot be used: "
            "it must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -."
        )
    if not isinstance(made.description, str) or not made.description.strip():
        raise ToolRejected(f"{made.name} has no description: say in it what the tool does; the model reads it.")
    if not all(isinstance(each, str) and len(each) <= MAX_CLASS_NAME for each in (made.class_name, made.object_name)):
        raise ToolRejected(f"The name of the tool's class must have at most {MAX_CLASS_NAME} characters.")
    if not isinstance(made.args_schema, dict) or made.args_schema.get("type") != "object":
        raise ToolRejected('The schema of the tool\'s arguments must be a JSON Schema with "type": "object".')
    if not _has_shape(made.manifest):
        raise ToolRejected(INTERFERES)
    if not storable:
        raise ToolRejected("Name, description and arguments of a tool must not hold NUL or unpaired surrogates.")
    return _with_resolved_schema(made)


def _with_resolved_schema(made: Description) -> Description:
    resolver = Resolver(made.args_schema)
    try:
        schema = resolver.resolve()
    except (SchemaTooLarge, RecursionError) as e:
        raise ToolRejected(
            f"The schema of the tool's arguments is too large with its references resolved ({e}): use fewer or smaller "
            "models in args_schema."
        ) from e
    manifest = made.manifest
    if resolver.has_recursion:  # only the tool's own model can judge what stands in itself
        manifest = Manifest(**{**manifest, "schema_settles": False})
    return replace(made, args_schema=schema, manifest=manifest)


def _has_shape(manifest: Any) -> bool:
    return isinstance(manifest, dict) and all(
        name in manifest and isinstance(manifest[name], shape) for name, shape in SHAPES.items()
    )


def _is_storable(made: Description) -> bool:
    """PostgreSQL holds neither NUL nor unpaired surrogates. Raises ValueError for what JSON cannot hold."""
    values = [made.class_name, made.object_name, made.description, made.args_schema, made.manifest]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return "\\u0000" not in text.replace("\\\\", "") and not any("\ud800" <= each <= "\udfff" for each in text)

"""Uploaded tools: what may become one. The only writer of `Tool` and `ToolVersion`, beside `catalog.native`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from agents.catalog import agents as agent_catalog
from agents.catalog import gates, names, packages
from agents.catalog.tool_code import digest_of
from agents.catalog.toolspec import ToolSpec
from agents.models import AgentTool, Tool, ToolVersion
from agents.sandbox import client as sandbox
from agents.sandbox.client import SandboxUnavailable
from agents.sandbox.manifest import Manifest, ToolRejected
from aip.core.db import borrowed_connection
from aip.core.exceptions import Conflict, Invalid, Unavailable
from aip.core.ids import find, find_all
from hitl import cancellations

MAX_SOURCE_BYTES = 1_000_000
MISSING = object()
logger = logging.getLogger(__name__)


class IsNative(Conflict):
    """A tool that comes with the server is not to be changed or deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The tool {name!r} comes with the server: it cannot be changed or deleted, apart from its gate. "
            "Upload a tool of your own in its place."
        )


class InvalidTool(Invalid):
    """A file cannot become a tool, or a text does not fit; says what to change."""


class NameTaken(Conflict):
    """Another living tool has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A tool named {name!r} exists already: give yours another name.")


def all_living() -> QuerySet[Tool]:
    """Tools that are not deleted, newest first, with their current version."""
    return Tool.objects.filter(deleted_at=None).select_related("current").order_by("-created_at", "id")


def living(tool_id: str) -> Tool:
    """Raises NotFound."""
    return find(all_living(), "tool", tool_id)


def own(tool_id: str) -> Tool:
    """A living tool that was uploaded. Raises NotFound, IsNative."""
    tool = living(tool_id)
    if tool.is_native:
        raise IsNative(tool.name)
    return tool


def from_ids(ids: list[str]) -> list[Tool]:
    """The living tools of these ids, as the tools of one agent. Raises Invalid, NamesClash."""
    tools = find_all(Tool.objects.filter(deleted_at=None).select_related("current"), "tool", ids, "upload it first")
    names.check_names(tools)
    return tools


def upload(
    *,
    source: bytes,
    file_name: str,
    name: str | None,
    framework: str,
    version: str,
    description: str | None,
    tags: list[str],
    gate: str | None = None,
    object: str | None = None,  # noqa: A002 - the form's field
) -> Tool:
    """Raises InvalidTool, NameTaken, Unavailable; nothing is written then.

    Without a `gate` a tool that replaces a deleted one which was gated starts as `ask`.

    Of several tools in the file `object` names one, by its variable, class or own name; without it `name` does.
    """
    current = describe(source, file_name, object_name=object, names=[name] if name else [])
    called = (name or "").strip() or current.tool_name
    tool = Tool(
        name=called,
        framework=framework,
        version=version,
        description=description or current.description,
        tags=tags,
        gate=gate or gates.of_replaced(called, current.tool_name),
        current=current,
    )
    _check_texts(tool)
    with _naming(tool), transaction.atomic():
        current.save(force_insert=True)
        tool.save(force_insert=True)
    return tool


def change(tool_id: str, **fields: Any) -> Tool:
    """Change what its uploader says of a tool; no field at all changes nothing.

    `fields` are name, framework, version, description, tags and gate; a description that is empty becomes the class's.
    Raises NotFound, InvalidTool, NameTaken, IsNative.
    """
    with agent_catalog.account_locked():
        tool = own(tool_id) if fields.keys() - {"gate"} else living(tool_id)
        if fields:
            _save(tool, **{"description": tool.description} | fields)
        return living(tool_id)


def upload_again(
    tool_id: str,
    *,
    source: bytes,
    file_name: str,
    object: str | None = None,  # noqa: A002 - the form's field
    **fields: Any,
) -> Tool:
    """A new version of a tool, for later runs, and what `change` changes. Those under way keep the version they have.

    Of several tools in the file it is that of the version before, unless `object` names another.

    Raises NotFound, InvalidTool, NameTaken, Unavailable, NamesClash, IsNative; nothing is written then.
    """
    before_it = own(tool_id)
    names_of_it = [before_it.current.object_name, before_it.current.tool_name, fields.get("name") or before_it.name]
    current = describe(source, file_name, object_name=object, names=[name for name in names_of_it if name])
    with agent_catalog.account_locked():
        tool = living(tool_id)
        is_the_classs = tool.description == tool.current.description
        before = {"description": "" if is_the_classs else tool.description}
        names.check_new_name(tool, current.tool_name)
        current.save(force_insert=True)
        tool.current = current
        _save(tool, **before | fields)
        return living(tool_id)


def delete(tool_id: str) -> None:
    """Its agents have it no more, its calls do not run, nobody is asked about them, and its name is free.

    Raises NotFound, IsNative.
    """
    with agent_catalog.account_locked():
        tool = own(tool_id)
        Tool.objects.filter(pk=tool.pk).update(deleted_at=Now(), updated_at=Now())
        AgentTool.objects.filter(tool=tool).delete()
        cancellations.withdraw_all(tool.pk)


def _save(tool: Tool, *, description: str, **fields: Any) -> None:
    tool.description = description or tool.current.description
    for name, value in fields.items():
        setattr(tool, name, value)
    _check_texts(tool)
    tool.updated_at = Now()
    with _naming(tool), transaction.atomic():
        tool.save(update_fields=["current", "description", "updated_at", *fields])


@contextmanager
def _naming(tool: Tool) -> Iterator[None]:
    """Raises NameTaken where the database refuses the tool's name."""
    try:
        yield
    except IntegrityError as e:
        if "one_living_tool_per_name" in str(e):
            raise NameTaken(tool.name) from e
        raise


def describe(source: bytes, file_name: str, *, object_name: str | None, names: Sequence[str]) -> ToolVersion:
    """What an upload would keep of a file, not saved: the file runs while no transaction is open.

    `object_name` must be in the file; of `names` the first that a tool of the file has chooses among several.
    Raises InvalidTool, Unavailable.
    """
    try:
        text = _decode(source)
        with borrowed_connection():
            pass  # others can use the request's connection while its file runs
        declared = packages.learn(text)
        directory = packages.directory_of(declared)
        made = sandbox.describe(text, object_name=object_name, names=names, packages=directory)
        again = sandbox.describe(text, object_name=made.object_name, packages=directory)
    except ToolRejected as e:
        raise InvalidTool({"file": str(e)}) from e
    except SandboxUnavailable as e:
        raise Unavailable(str(e)) from e
    version = ToolVersion(
        digest=digest_of(source),
        file_name=file_name,
        source=text,
        class_name=made.class_name,
        object_name=made.object_name,
        manifest={**_steady(made.manifest, again.manifest), "packages": declared},
        tool_name=made.name,
        description=made.description,
        args_schema=made.args_schema,
    )
    _check_texts(version)
    return version


def _steady(first: Manifest, second: Manifest) -> Manifest:
    """What two loads of a file say of its tool: a default that differs is made anew each time, such as the present."""
    defaults, made = first["defaults"], first["made_when_run"]
    same = {name: value for name, value in defaults.items() if second["defaults"].get(name, MISSING) == value}
    return {**first, "defaults": same, "made_when_run": [*made, *(name for name in defaults if name not in same)]}


def manifest_of(spec: ToolSpec, source: str) -> Manifest:
    """What the upload learned of a tool's version, or what is learned now of one that is older, and kept.

    Runs the file while no transaction is open. {} where the sandbox cannot describe it now.
    """
    if spec.manifest:
        return spec.manifest
    kept: Any = ToolVersion.objects.values_list("manifest", flat=True).get(pk=spec.version_id)
    if kept:
        return cast(Manifest, kept)
    try:
        learned: Any = describe(source.encode(), "", object_name=spec.object_name or spec.class_name, names=()).manifest
    except (InvalidTool, Unavailable) as e:
        logger.warning("The version %s of %s cannot be described: %s", spec.digest[:8], spec.name, e)
        return {}
    ToolVersion.objects.filter(pk=spec.version_id, manifest={}).update(manifest=learned)
    return cast(Manifest, learned)


def _decode(source: bytes) -> str:
    if len(source) > MAX_SOURCE_BYTES:
        raise ToolRejected(f"The file has {len(source):,} bytes; {MAX_SOURCE_BYTES:,} are allowed.")
    try:
        text = source.decode()
    except UnicodeDecodeError as e:
        line = source.count(b"\n", 0, e.start) + 1
        raise ToolRejected(f"The file is not UTF-8, line {line}: save it as UTF-8.") from e
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ToolRejected(f"The file has a NUL byte in line {line}; remove it.")
    return text


def _check_texts(row: Tool | ToolVersion) -> None:
    """Raises InvalidTool for a text that would not fit into its column."""
    for field in row._meta.fields:
        for text in _texts(getattr(row, field.attname)):
            if field.max_length and len(text) > field.max_length:
                raise InvalidTool(f"{field.name} is longer than {field.max_length} characters.")
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise InvalidTool(f"{field.name} must not hold NUL or unpaired surrogates.")


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []

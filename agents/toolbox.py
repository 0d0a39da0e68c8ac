"""Uploaded tools: what may become one. The only writer of `Tool` and `ToolVersion`."""

import hashlib
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists

from agents import sandbox
from agents.descriptions import ToolRejected
from agents.models import Tool, ToolVersion
from aip.db import borrowed_connection

MAX_SOURCE_BYTES = 1_000_000


class ToolGone(Exception):
    """The tool was deleted; says so to the model."""

    def __init__(self) -> None:
        super().__init__("This tool was deleted, so the call did not run. Go on without it.")


class NameTaken(Exception):
    """Another living tool has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A tool named {name!r} exists already: upload yours under another name.")
        self.name = name


def code(tool_id: UUID, version_id: UUID) -> tuple[str, str]:
    """The source of a version, and its digest as it is now. Raises ToolGone when the tool was deleted."""
    living = Exists(Tool.objects.filter(pk=tool_id, deleted_at=None))
    found = ToolVersion.objects.filter(pk=version_id).values_list("source", living).first()
    source, is_living = found or ("", False)
    if not is_living:
        raise ToolGone
    return source, _digest(source.encode())


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def upload(
    *,
    source: bytes,
    file_name: str,
    name: str | None,
    framework: str,
    version: str,
    description: str | None,
    tags: list[str],
) -> Tool:
    """Raises ToolRejected, NameTaken, SandboxUnavailable; nothing is written then."""
    current = _describe(source, file_name)
    tool = Tool(
        name=(name or "").strip() or current.tool_name,
        framework=framework,
        version=version,
        description=description or current.description,
        tags=tags,
        current=current,
    )
    _check_texts(tool)
    try:
        with transaction.atomic():
            current.save(force_insert=True)
            tool.save(force_insert=True)
    except IntegrityError as e:
        if "one_living_tool_per_name" in str(e):
            raise NameTaken(tool.name) from e
        raise
    return tool


def _describe(source: bytes, file_name: str) -> ToolVersion:
    """Not saved yet: the file runs while no transaction is open."""
    text = _decode(source)
    with borrowed_connection():
        pass  # nobody else has to wait for the connection of a request whose file takes its time
    made = sandbox.describe(text)
    version = ToolVersion(
        digest=_digest(source),
        file_name=file_name,
        source=text,
        class_name=made.class_name,
        tool_name=made.name,
        description=made.description,
        args_schema=made.args_schema,
    )
    _check_texts(version)
    return version


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
    """What would not fit into the row's columns."""
    for field in row._meta.fields:
        for text in _texts(getattr(row, field.attname)):
            if field.max_length and len(text) > field.max_length:
                raise ToolRejected(f"{field.name} is longer than {field.max_length} characters.")
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise ToolRejected(f"{field.name} must not hold NUL or unpaired surrogates.")


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []

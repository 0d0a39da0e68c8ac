"""The code of a tool's version, as it is read when a call is to run."""

import hashlib
from typing import Any
from uuid import UUID

from django.db import connection

from agents.catalog import packages
from agents.catalog.toolspec import ToolSpec
from agents.models import ToolVersion
from agents.sandbox.client import ToolCode


class ToolGone(Exception):
    """The tool was deleted; says so to the model."""

    def __init__(self) -> None:
        super().__init__("This tool was deleted, so the call did not run. Go on without it.")


CODE = """
    SELECT version.source FROM agents_tool AS tool, agents_toolversion AS version
    WHERE tool.id = %s AND tool.deleted_at IS NULL AND version.id = %s
"""
# Shared: calls of one tool do not wait for each other, and whoever deletes the tool waits for them.
LOCKED = "FOR SHARE OF tool"


def read(tool_id: UUID, version_id: UUID, *, locked: bool = False) -> tuple[str, str]:
    """The source of a version, and its digest as it is now. Raises ToolGone when the tool was deleted.

    If `locked`, it is not deleted before the caller's transaction ends.
    """
    with connection.cursor() as cursor:
        cursor.execute(CODE + LOCKED if locked else CODE, [tool_id, version_id])
        found = cursor.fetchone()
    if found is None:
        raise ToolGone
    return found[0], digest_of(found[0].encode())


def source_of(digest: str) -> str:
    """The source that a version was uploaded with; "" where none has that digest."""
    return ToolVersion.objects.filter(digest=digest).values_list("source", flat=True).first() or ""


def digest_of(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def of_version(version: ToolVersion, settings: dict[str, Any]) -> ToolCode:
    """A version of a tool as the sandbox runs it, as `of_spec`."""
    return ToolCode(
        source=version.source,
        object_name=version.object_name or version.class_name,
        settings=settings,
        packages=packages.directory_of(version.manifest.get("packages")),
    )


def of_spec(spec: ToolSpec, source: str) -> ToolCode:
    """A tool as the sandbox runs it. Its packages are installed if they are not there. Raises SandboxUnavailable."""
    return ToolCode(
        source=source,
        object_name=spec.object_name or spec.class_name,
        settings=spec.fields,
        packages=packages.directory_of(spec.manifest.get("packages")),
    )

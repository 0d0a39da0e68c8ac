"""Tools that come with the server, written to the catalog after each migration; the only writer of native tools.

Their calls run in the sandbox, as those of uploaded tools do.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from agents.models import Tool, ToolVersion

DIRECTORY = Path(__file__).resolve().parent.parent / "native"
NAMES = ("time_tool",)


def install(apps: Any = None, **kwargs: Any) -> None:
    """Each tool, with a new version where its file has changed. Not for a schema that is older than native tools."""
    if apps is not None and not hasattr(apps.get_model("agents", "Tool"), "is_native"):
        return
    for name in NAMES:
        with transaction.atomic():
            _install(name)


def shipped(name: str) -> dict[str, Any]:
    """The fields of the version that this server brings: the file, and beside it what an upload learns of it."""
    source = (DIRECTORY / f"{name}.py").read_bytes()
    learned: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    digest = hashlib.sha256(source).hexdigest()
    return {"digest": digest, "file_name": f"{name}.py", "source": source.decode(), **learned}


def _install(name: str) -> None:
    fields = shipped(name)
    tool = Tool.objects.filter(name=name, is_native=True).select_related("current").first()
    if tool is not None and tool.current.digest == fields["digest"]:
        return
    version = ToolVersion.objects.create(**fields)
    Tool.objects.update_or_create(
        name=name,
        is_native=True,
        defaults={"current": version, "description": version.description, "updated_at": Now()},
    )

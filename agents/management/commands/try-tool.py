"""`manage.py try-tool FILE`: say what this server would make of a tool's file, without uploading it."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agents.catalog import tools as tool_catalog
from agents.models import ToolVersion
from agents.sandbox import client as sandbox
from aip.core.exceptions import Invalid, Unavailable


class Command(BaseCommand):
    help = "Say what this server would make of a tool's file, without uploading it. Exit status 1 if it is refused."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the Python file")
        parser.add_argument("--name", help="as in the upload's form: chooses among several tools by their own name")
        parser.add_argument("--object", help="as in the upload's form: the variable or class that is the tool")

    def handle(self, *_args: Any, file: Path, name: str | None, object: str | None, **_options: Any) -> None:  # noqa: A002
        try:
            source = file.read_bytes()
        except OSError as e:
            raise CommandError(f"{file} cannot be read: {e.strerror}.") from e
        try:
            version = tool_catalog.describe(
                source, file.name, object_name=object, names=[one for one in (name, file.stem) if one]
            )
        except (Invalid, Unavailable) as e:
            raise CommandError(f"Refused: {e}") from e
        finally:
            sandbox.close()
        for line in _lines(version):
            self.stdout.write(line)


def _lines(version: ToolVersion) -> Iterator[str]:
    manifest = version.manifest
    yield f"tool         {version.tool_name}, {version.object_name} of the file"
    yield f"description  {version.description}"
    yield f"runs         {'_arun, as a coroutine' if manifest['is_async'] else '_run'}"
    yield "arguments"
    for name, schema in version.args_schema.get("properties", {}).items():
        yield f"  {name}: {_kind(schema)}, {_default(name, version)}"
    for name, what in manifest["injected"].items():
        yield f"  {name}: given by the server ({what}); the model does not see it"
    if manifest["settings_schema"]:
        yield "settings, in tool_configs"
        for name, schema in manifest["settings_schema"].get("properties", {}).items():
            default = f"default {json.dumps(schema['default'])}" if "default" in schema else "required"
            yield f"  {name}: {_kind(schema)}, {default}"
    if packages := manifest["packages"]:
        yield f"packages     {', '.join(packages['declared'])}"
        for one in packages["resolved"]:
            yield f"  installs {one['name']} {one['version']}"


def _kind(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    kinds = [_kind(each) for each in schema.get("anyOf", [])]
    return " or ".join(kinds) if kinds else str(schema.get("format") or schema.get("type") or "see the schema")


def _default(name: str, version: ToolVersion) -> str:
    manifest = version.manifest
    if name in manifest["defaults"]:
        return f"default {json.dumps(manifest['defaults'][name])}"
    if name in manifest["made_when_run"]:
        return "default made when it runs"
    return "required" if name in version.args_schema.get("required", []) else "may be left out"

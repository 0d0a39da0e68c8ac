"""The JSON Schema of a tool's arguments, with its references resolved and its size bounded.

The schema is an uploader's. References that multiply make a schema of one kilobyte as large as memory, for whoever
resolves them; so they are resolved once, at the upload, within bounds.
"""

import json
from collections.abc import Iterator
from typing import Any

MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_BYTES = 500_000
LOCAL = "#/"
# What holds the targets of references, which nothing needs once they are resolved.
DEFINITIONS = ("$defs", "definitions")


class SchemaTooLarge(ValueError):
    """A schema is larger than is allowed; the text says in what."""


class Resolver:
    """Resolves the references of one schema. `has_recursion` tells whether one referred to what it stands in."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.has_recursion = False
        self._nodes = 0

    def resolve(self) -> dict[str, Any]:
        """The schema without local references: what stands in itself becomes `{}`, which allows anything.

        Raises SchemaTooLarge.
        """
        resolved = self._resolve(self.schema, (), 0)
        for name in DEFINITIONS:
            resolved.pop(name, None)
        if len(json.dumps(resolved)) > MAX_BYTES:
            raise SchemaTooLarge(f"it has more than {MAX_BYTES:,} characters")
        result: dict[str, Any] = resolved
        return result

    def _resolve(self, part: Any, within: tuple[str, ...], depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SchemaTooLarge(f"it has more than {MAX_NODES:,} parts")
        if depth > MAX_DEPTH:
            raise SchemaTooLarge(f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(part, list):
            return [self._resolve(each, within, depth + 1) for each in part]
        if not isinstance(part, dict):
            return part
        reference = _local_reference(part)
        rest = {
            key: self._resolve(value, within, depth + 1)
            for key, value in part.items()
            if not (reference and key == "$ref") and not (depth == 0 and key in DEFINITIONS)
        }
        return {**self._target(reference, within, depth), **rest} if reference else rest

    def _target(self, reference: str, within: tuple[str, ...], depth: int) -> dict[str, Any]:
        if reference in within or reference == "#":
            self.has_recursion = True
            return {}
        target: Any = self.schema
        for step in _steps(reference):
            target = target.get(step) if isinstance(target, dict) else None
        resolved = self._resolve(target, (*within, reference), depth + 1)
        return resolved if isinstance(resolved, dict) else {}


def _local_reference(part: dict[str, Any]) -> str:
    """The reference to another part of the same schema; "" if there is none."""
    reference = part.get("$ref")
    return reference if isinstance(reference, str) and (reference == "#" or reference.startswith(LOCAL)) else ""


def _steps(reference: str) -> Iterator[str]:
    """The keys of a JSON pointer (RFC 6901)."""
    for step in reference.removeprefix(LOCAL).split("/"):
        yield step.replace("~1", "/").replace("~0", "~")

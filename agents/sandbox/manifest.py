"""What an uploaded file says of its tool, checked."""

import json
import re
from dataclasses import dataclass
from typing import Any

MAX_TOOL_NAME = 64
# What model providers accept as the name of a function.
TOOL_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TOOL_NAME}}}")
MAX_CLASS_NAME = 255


class ToolRejected(Exception):
    """An upload cannot become a tool; the text tells its author what to change."""


@dataclass(frozen=True)
class Description:
    """What an uploaded file says of its tool. `args_schema` is the arguments' JSON Schema."""

    class_name: str
    name: str
    description: str
    args_schema: dict[str, Any]


def checked(text: str) -> Description:
    """A description as the sandbox gave it. Raises ToolRejected.

    Checked here and not where the file runs, since the file could change the checks there.
    """
    try:
        made = Description(**json.loads(text))
        storable = _is_storable(made)
    except (ValueError, TypeError, RecursionError) as e:
        raise ToolRejected(
            "The file interferes with being described: keep it to a tool class and what it needs."
        ) from e
    if not isinstance(made.name, str) or not TOOL_NAME.fullmatch(made.name):
        raise ToolRejected(
            f"The tool's name {made.name!r:.100} cannot be used: "
            "it must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -."
        )
    if not isinstance(made.description, str) or not made.description.strip():
        raise ToolRejected(f"{made.name} has no description: say in it what the tool does; the model reads it.")
    if not isinstance(made.class_name, str) or len(made.class_name) > MAX_CLASS_NAME:
        raise ToolRejected(f"The name of the tool's class must have at most {MAX_CLASS_NAME} characters.")
    if not isinstance(made.args_schema, dict) or made.args_schema.get("type") != "object":
        raise ToolRejected('The schema of the tool\'s arguments must be a JSON Schema with "type": "object".')
    if not storable:
        raise ToolRejected("Name, description and arguments of a tool must not hold NUL or unpaired surrogates.")
    return made


def _is_storable(made: Description) -> bool:
    """PostgreSQL holds neither NUL nor unpaired surrogates. Raises ValueError for what JSON cannot hold."""
    values = [made.class_name, made.description, made.args_schema]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return "\\u0000" not in text.replace("\\\\", "") and not any("\ud800" <= each <= "\udfff" for each in text)

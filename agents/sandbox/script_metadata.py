"""What an uploaded file declares of its packages, by inline script metadata (PEP 723)."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.sandbox.manifest import ToolRejected

BLOCK_START, BLOCK_END = "# /// script", "# ///"
MAX_DECLARED = 50


@dataclass(frozen=True)
class Declared:
    """What a file's metadata block asks for."""

    requires_python: str
    requirements: tuple[str, ...]


def declared(source: str) -> Declared:
    """The metadata block of a file; empty where it has none. Raises ToolRejected."""
    blocks = list(_blocks(source.splitlines()))
    if not blocks:
        return Declared("", ())
    if len(blocks) > 1:
        raise ToolRejected("The file has more than one block `# /// script`; keep one.")
    try:
        table = tomllib.loads("\n".join(line[2:] for line in blocks[0]))
    except tomllib.TOMLDecodeError as e:
        raise ToolRejected(f"The block `# /// script` is not valid TOML: {e}.") from e
    requirements, requires_python = table.get("dependencies", []), table.get("requires-python", "")
    if not isinstance(requirements, list) or not all(isinstance(each, str) for each in requirements):
        raise ToolRejected(
            '`dependencies` in the block `# /// script` must be a list of texts, such as ["httpx>=0.28"].'
        )
    if not isinstance(requires_python, str):
        raise ToolRejected('`requires-python` in the block `# /// script` must be a text, such as ">=3.11".')
    if len(requirements) > MAX_DECLARED:
        raise ToolRejected(f"The file declares {len(requirements)} packages; {MAX_DECLARED} are allowed.")
    return Declared(requires_python, tuple(requirements))


def _blocks(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """The lines within each metadata block of PEP 723: comments from its start to the last end among them.

    Not by the expression of PEP 723, which is quadratic in the length of the file.
    """
    number = 0
    while number < len(lines):
        start, number = number, number + 1
        if lines[start] != BLOCK_START:
            continue
        end = None
        while number < len(lines) and (lines[number] == "#" or lines[number].startswith("# ")):
            end = number if lines[number] == BLOCK_END else end
            number += 1
        if end is not None and end > start + 1:
            yield lines[start + 1 : end]

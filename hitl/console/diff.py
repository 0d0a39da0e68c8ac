"""What is different between two versions of a call's arguments, for a person to read."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

from aip.core.jsonb import canonical
from aip.core.text import visible
from hitl.seal import Arguments

# Texts of more lines are shown whole, one after the other: comparing them line by line may take for ever.
MAX_LINES = 2_000


@dataclass(frozen=True)
class Change:
    """One argument that changed. `before` or `after` is None where there was, or is, no such argument.

    `lines` are those of a long text that changed, each with its sign: "-", "+", or " " for one that stands near.
    All texts are harmless to show.
    """

    name: str
    before: str | None
    after: str | None
    lines: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def differences(before: Arguments, after: Arguments) -> list[Change]:
    """The arguments that are not the same in both, in the order in which they stand."""
    names = [*before, *(name for name in after if name not in before)]
    return [_change(name, before, after) for name in names if _spelled(before, name) != _spelled(after, name)]


def _spelled(arguments: Arguments, name: str) -> str | None:
    return canonical(arguments[name]) if name in arguments else None


def _change(name: str, before: Arguments, after: Arguments) -> Change:
    values = [arguments[name] for arguments in (before, after) if name in arguments]
    # A text and a number may look the same: then both are shown as JSON.
    plain = all(isinstance(value, str) for value in values)
    was, now = (_text(arguments[name], plain) if name in arguments else None for arguments in (before, after))
    return Change(visible(name), was, now, _lines(was, now))


def _text(value: Any, plain: bool) -> str:
    return visible(value if plain else json.dumps(value, indent=2, ensure_ascii=False))


def _lines(was: str | None, now: str | None) -> tuple[tuple[str, str], ...]:
    if was is None or now is None:
        return ()
    old, new = was.split("\n"), now.split("\n")
    if max(len(old), len(new)) == 1 or len(old) + len(new) > MAX_LINES:
        return ()
    found = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
    return tuple(("…", "") if line.startswith("@@") else (line[:1], line[1:]) for line in found)

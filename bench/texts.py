"""How the cost of a text from outside grows with its length: processor time for n and for 2n characters, as a ratio.

    uv run --group dev python -m bench.texts [--characters 100000]

Each parser and pattern that sees such a text is given the inputs that are worst for it. Twice the length may cost at
most 2.5 times as much; exit status 1 if one costs more.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from agents.api import multipart
from agents.catalog import names
from agents.llm import chat_models
from agents.loop import model_answers
from agents.models import Agent
from agents.runs.attachments import Attachment, user_message
from agents.sandbox import script_metadata
from aip.core import admin_pages, json_input, jsonb, text
from hitl.console import argument_display, diff

MOST = 2.5
# A shorter time says nothing.
LEAST_SECONDS = 0.002
FORM = b'--x\r\nContent-Disposition: form-data; name="input"\r\n\r\n%s\r\n--x--\r\n'


class Refusal(Exception):
    status_code = 400


def repeated(piece: str) -> Callable[[int], str]:
    return lambda length: piece * (length // len(piece))


LINES, SPACES, LETTERS = repeated("\n"), repeated(" "), repeated("a")
SHAPES: dict[str, Callable[[int], str]] = {
    "blank lines": LINES,
    "spaces": lambda length: SPACES(length) + "\n",
    "one word": LETTERS,
    "SELECT": repeated("SELECT "),
    "headers": repeated("To: a\n"),
    "brackets": repeated("["),
    "quotes": repeated('"'),
    "backslashes": repeated("\\"),
    "backticks": lambda length: "```\n" * (length // 4),
    "metadata": repeated("# /// script\n"),
    "lists": lambda length: "[" + "[]," * (length // 3) + "[]]",
    "bidi marks": repeated("\u202e"),
}
PARSERS: dict[str, Callable[[str], object]] = {
    "argument for display": lambda given: argument_display.displayed({}, {"note": given}),
    "difference of arguments": lambda given: diff.differences({"a": given}, {"a": given + "b"}),
    "text for display": text.visible,
    "line of a list": admin_pages.cut,
    "block of a page": lambda given: admin_pages.json_block(given),
    "id in a search": admin_pages.has_id,
    "JSON body": lambda given: json_input.read_json(given.encode(), "The body"),
    "storable": jsonb.storable,
    "form": lambda given: multipart.read(FORM % given.encode(), "multipart/form-data; boundary=x"),
    "arguments of a model": model_answers.read_arguments,
    "name of a call": lambda given: model_answers._name(given, set()),
    "name of an agent": lambda given: names.tool_name(Agent(name=given)),
    "error of a provider": lambda given: chat_models._is_too_long(Refusal(given)),
    "file for a model": lambda given: user_message("", [Attachment(name="a", content_type="", content=given.encode())]),
    "metadata of a tool": script_metadata.declared,
}


def seconds(parse: Callable[[str], object], given: str) -> float:
    """The best of three, in processor time."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        with suppress(Exception):  # a refusal costs too
            parse(given)
        best = min(best, time.process_time() - began)
    return best


def measured(characters: int) -> Iterator[tuple[str, str, float, float]]:
    for name, parse in PARSERS.items():
        for shape, make in SHAPES.items():
            yield name, shape, seconds(parse, make(characters)), seconds(parse, make(2 * characters))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--characters", type=int, default=100_000)
    options: Any = parser.parse_args()
    worst: list[str] = []
    gc.disable()  # its own growth is in steps
    for name, shape, once, twice in measured(options.characters):
        ratio = twice / once if once > LEAST_SECONDS else 0.0
        print(f"{name:26} {shape:14} {once * 1000:9.2f} ms {twice * 1000:9.2f} ms {ratio:6.2f}")
        if ratio > MOST:
            worst.append(f"{name}, {shape}: {ratio:.2f}")
    print("\n".join(["More than twice the length may cost:", *worst]) if worst else "All grow with their length.")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())

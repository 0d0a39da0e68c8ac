"""A call's arguments as fields that a person can read, each by its kind."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import TextChoices

from aip.core.text import visible
from hitl.argument_schema import properties
from hitl.seal import Arguments

LONG_CHARACTERS = 120
CODE_NAMES = {"code", "script", "source", "sql", "query", "command", "snippet", "patch", "diff", "program", "regex"}
# As much of a text as is looked at to guess its kind: it is an agent's, and may be as long as it likes.
LOOKED_AT = 4_000
CODE_LOOKS = re.compile(
    r"^[ \t]{0,40}(?:#!|<\?(?:php|xml)|import \w|from [\w.]+ import |def \w+\(|class \w+[(:]|function[ (]|const \w+ =|"
    r"SELECT\s.{1,300}\sFROM\s|INSERT INTO |UPDATE \w+ SET |DELETE FROM |CREATE TABLE |diff --git |package \w+;?$)",
    re.MULTILINE,
)
MAIL_BODIES = {"body", "text", "message", "content", "html", "html_body", "text_body"}
MAIL_NAMES = {"to", "cc", "bcc", "recipient", "recipients", "subject", "to_email", "email"}
MAIL_HEADERS = re.compile(r"\A(?:(?:From|To|Cc|Bcc|Subject|Date|Reply-To):[^\n]*\n)+", re.IGNORECASE)


class DisplayKind(TextChoices):
    """The labels distinguish values that look the same: the text "true" and the boolean."""

    TEXT = "text", "text"
    LONG_TEXT = "long_text", "long text"
    EMAIL = "email", "e-mail"
    CODE = "code", "code"
    JSON = "json", "JSON"
    NUMBER = "number", "number"
    BOOLEAN = "boolean", "yes or no"
    NOTHING = "nothing", "nothing"


@dataclass(frozen=True)
class DisplayedArgument:
    """One argument. All texts are safe to show; `text` is never cut."""

    name: str
    label: str
    help: str
    kind: DisplayKind
    text: str
    # Where a value comes from that the model did not give; empty for one that it gave.
    origin: str = ""


OF_THE_TOOL = "the tool's own default"
SET_BY = {"agent": "by the agent", "run": "by this run"}


def displayed_defaults(schema: dict[str, Any], defaults: Arguments) -> list[DisplayedArgument]:
    """The values that the tool uses for what a call leaves out, marked as its own."""
    return [replace(each, origin=OF_THE_TOOL) for each in displayed(schema, defaults)]


def displayed_settings(settings: dict[str, dict[str, Any]]) -> list[DisplayedArgument]:
    """The settings of the tool (`ApprovalRequest.shown_settings`), each with who gave it."""
    values = displayed({}, {name: entry["value"] for name, entry in settings.items()})
    origins = (SET_BY[entry["set_by"]] for entry in settings.values())
    return [replace(each, origin=origin) for each, origin in zip(values, origins, strict=True)]


def displayed(schema: dict[str, Any], arguments: Arguments) -> list[DisplayedArgument]:
    """The arguments in the order of the schema, then those that it does not have."""
    known = properties(schema)
    names = [name for name in known if name in arguments] + [name for name in arguments if name not in known]
    return [_displayed(name, known.get(name), arguments) for name in names]


def _displayed(name: str, schema: Any, arguments: Arguments) -> DisplayedArgument:
    described = schema if isinstance(schema, dict) else {}
    kind, text = _kind(name, described, arguments)
    label, help_text = (str(described.get(key) or "") for key in ("title", "description"))
    return DisplayedArgument(visible(name), visible(label or name), visible(help_text), kind, visible(text))


def _kind(name: str, described: dict[str, Any], arguments: Arguments) -> tuple[DisplayKind, str]:
    value = arguments[name]
    match value:
        case None:
            return DisplayKind.NOTHING, "null"
        case bool():
            return DisplayKind.BOOLEAN, "true" if value else "false"
        case int() | float():
            return DisplayKind.NUMBER, json.dumps(value)
        case str():
            return _text(name, described, value, {other.lower() for other in arguments})
        case _:
            return DisplayKind.JSON, _pretty(value)


def _text(name: str, described: dict[str, Any], text: str, names: set[str]) -> tuple[DisplayKind, str]:
    media = str(described.get("contentMediaType", ""))
    if (found := _json(text)) is not None:
        return DisplayKind.JSON, found
    start = text[:LOOKED_AT]
    if MAIL_HEADERS.match(start) or media == "message/rfc822" or (name.lower() in MAIL_BODIES and names & MAIL_NAMES):
        return DisplayKind.EMAIL, text
    is_code = media.startswith(("text/x-", "application/")) or name.lower() in CODE_NAMES
    if is_code or ("\n" in start and CODE_LOOKS.search(start)):
        return DisplayKind.CODE, text
    return (DisplayKind.LONG_TEXT if "\n" in text or len(text) > LONG_CHARACTERS else DisplayKind.TEXT), text


def _json(text: str) -> str | None:
    """A text that is a JSON object or list, made readable."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text)
        # As it is where a reader in between would change it: a key that stands twice, a number of many digits.
        return _pretty(value) if json.loads(_pretty(value)) == value and _same(text, value) else text
    except (ValueError, RecursionError):
        return None


def _same(text: str, value: Any) -> bool:
    return "".join(text.split()) == "".join(json.dumps(value, ensure_ascii=False).split())


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)

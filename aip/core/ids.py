"""Rows by the ids that clients send, which may be any text."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from aip.core.exceptions import Invalid, NotFound

MAX_SHOWN = 100  # characters of an id that a message repeats
M = TypeVar("M", bound=Model)


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def no_such(noun: str, text: str) -> NotFound:
    return NotFound(f"There is no {noun} with the id {text[:MAX_SHOWN]}.")


def find(rows: QuerySet[M], noun: str, text: str) -> M:
    """The row with this id. Raises NotFound, also for text that is no UUID."""
    row = rows.filter(pk=text).first() if is_uuid(text) else None
    if row is None:
        raise no_such(noun, text)
    return row


def find_all(rows: QuerySet[M], noun: str, texts: Sequence[str], advice: str) -> list[M]:
    """The rows with these ids, each once and in their order. Raises Invalid, which names the first unknown id."""
    unknown = next((text for text in texts if not is_uuid(text)), None)
    ids = [] if unknown else list(dict.fromkeys(UUID(text) for text in texts))
    found = rows.in_bulk(ids) if ids else {}
    unknown = unknown or next((str(pk) for pk in ids if pk not in found), None)
    if unknown:
        raise Invalid(f"There is no {noun} with the id {unknown[:MAX_SHOWN]}; {advice}.")
    return [found[pk] for pk in ids]

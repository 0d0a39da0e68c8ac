"""What the query of a request for a list asks for, and the envelope that a list comes in (contract 1.4, 4.1, 4.4)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Func, QuerySet, TextField, Value
from django.db.models.lookups import Exact
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from agents.catalog import agents as agent_catalog
from agents.models import Agent

MAX_PAGE = 100
MAX_NUMBER = 10**6
EXACT_FILTERS = {"agent_type": "type", "framework": "framework", "version": "version"}
METADATA = "metadata."
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def envelope(data: Any, message: str = "ok", **paging: Any) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data, **paging}


def figures(total: int, page: int, limit: int) -> dict[str, Any]:
    """The paging figures beside the data of a page."""
    return {
        "total": total,
        "page": page,
        "limit": limit,
        "has_next": page * limit < total,
        "has_prev": page > 1,
    }


def given(request: Request) -> dict[str, str]:
    """The query's parameters. Raises ParseError for what the database could not hold."""
    found = {key: str(value) for key, value in request.query_params.items()}
    if any("\0" in text for pair in found.items() for text in pair):
        raise ParseError("The query holds a NUL character (%00); remove it.")
    return found


def whole(query: dict[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """Raises ParseError."""
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ParseError(f"{name} must be a whole number from {low} to {high}.")
    return int(text)


def word(query: dict[str, str], name: str, words: tuple[str, ...]) -> str | None:
    """One of the words; None where the parameter is absent or empty. Raises ParseError."""
    text = query.get(name) or None
    if text is not None and text not in words:
        raise ParseError(f"{name} must be one of {', '.join(words)}.")
    return text


def moment(name: str, text: str) -> datetime:
    """Raises ParseError."""
    try:
        # A plus sign that was not escaped arrives as a space.
        found = datetime.fromisoformat(text[:10] + text[10:].replace(" ", "+"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParseError(f"{name} must be a date or time such as 2025-10-14 or 2025-10-14T01:56:22Z.") from None


def agents_asked_for(query: dict[str, str]) -> QuerySet[Agent]:
    """The agents that the parameters of contract 4.1 ask for. Raises ParseError."""
    filled = {key: value for key, value in query.items() if value}
    deleted = filled.get("include_deleted", "false").lower()
    if deleted not in FLAGS:
        raise ParseError("include_deleted must be true or false.")
    agents = agent_catalog.listed(include_deleted=FLAGS[deleted]).filter(name__icontains=filled.get("name", ""))
    for parameter, column in EXACT_FILTERS.items():
        if parameter in filled:
            agents = agents.filter(**{column: filled[parameter]})
    for column in ("created_at", "updated_at"):
        if start := filled.get(f"{column}_start"):
            agents = agents.filter(**{f"{column}__gte": moment(f"{column}_start", start)})
        if end := filled.get(f"{column}_end"):
            whole_day = timedelta(days=1, microseconds=-1) if len(end) == len("2025-10-14") else timedelta()
            agents = agents.filter(**{f"{column}__lte": moment(f"{column}_end", end) + whole_day})
    for parameter, value in query.items():
        if parameter.startswith(METADATA):
            agents = agents.filter(Exact(_metadata(parameter.removeprefix(METADATA)), value))
    return agents


def _metadata(key: str) -> Func:
    """The text of one entry. Not Django's own key transform, which takes a key of digits for a place in a list."""
    return Func(F("metadata"), Value(key), function="jsonb_extract_path_text", output_field=TextField())

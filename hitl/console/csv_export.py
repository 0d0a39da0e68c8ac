"""The record of past requests as CSV, streamed: a part at a time, whatever there is and whoever reads how slowly."""

import csv
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce, Left

from aip.core.db import borrowed_connection
from hitl.labels import ARGUMENTS_ASKED, ARGUMENTS_RUN, OUTCOME
from hitl.models import ApprovalRequest

ROWS = 200
# A spreadsheet's cell holds 32,767.
CELL_CHARACTERS = 32_000
# What a spreadsheet would take for a formula; a number is none.
NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _cut(expression: Any) -> Left:
    return Left(Cast(expression, TextField()), CELL_CHARACTERS)


COLUMNS: dict[str, Any] = {
    "closed_at": F("closed_at"),
    "request_id": F("id"),
    "created_at": F("created_at"),
    "seconds_open": F("closed_at") - F("created_at"),
    "decision": OUTCOME,
    "decided_by": F("decision__decided_by_name"),
    "from": F("decision__source"),
    "note": _cut("decision__operator_input"),
    "tool": F("tool_name"),
    "agent": F("agent_name"),
    "requester": F("requester"),
    "arguments": _cut(Coalesce(ARGUMENTS_ASKED, "arguments")),
    "approved_arguments": _cut(ARGUMENTS_RUN),
    "answer": _cut("decision__answer"),
    "execution": F("execution"),
    "output": _cut("output"),
    "round": F("round"),
    "reason": _cut("reason"),
    "seal": F("seal"),
    "approved_seal": F("decision__seal"),
    "tool_id": F("tool_id"),
    "tool_version": F("tool_version"),
    "agent_id": F("agent_id"),
    "run_id": F("run_id"),
    "client_run_id": _cut("decision__client_run_id"),
}


async def export(requests: QuerySet[ApprovalRequest]) -> AsyncIterator[str]:
    """The closed ones of the requests as lines of CSV, the last closed first.

    Each part is a statement of its own that begins after the one before, so that no connection, transaction or
    cursor lives as long as a slow reader. What is closed meanwhile comes before the beginning.
    """
    yield _line(COLUMNS)
    after: tuple[datetime, UUID] | None = None
    part = sync_to_async(_part, thread_sensitive=False)
    while True:
        text, after = await part(requests, after)
        if after is None:
            return
        yield text


def _part(
    requests: QuerySet[ApprovalRequest], after: tuple[datetime, UUID] | None
) -> tuple[str, tuple[datetime, UUID] | None]:
    """The next lines, and the place of the last one; None when there were none."""
    found = requests.filter(closed_at__isnull=False).order_by("-closed_at", "-id")
    if after is not None:
        closed_at, pk = after
        # The first is for the index, which a disjunction alone would not use.
        found = found.filter(closed_at__lte=closed_at).filter(Q(closed_at__lt=closed_at) | Q(pk__lt=pk))
    with borrowed_connection():
        rows = list(found.values_list(*COLUMNS.values())[:ROWS])
    return "".join(map(_line, rows)), (rows[-1][0], rows[-1][1]) if rows else None


def _line(values: Any) -> str:
    line = StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():.3f}"
        case str() if value.startswith(FORMULA) and not NUMBER.fullmatch(value):
            return f"'{value}"
        case _:
            return value

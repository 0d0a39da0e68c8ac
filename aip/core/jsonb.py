"""JSON as PostgreSQL's jsonb can hold it, and one spelling of equal values."""

import json
import math
import re
from typing import Any

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(value: Any) -> Any:
    """`value` as PostgreSQL's jsonb can hold it, which has no NUL, no lone surrogate, no NaN and no infinity."""
    match value:
        case str():
            return UNSTORABLE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {storable(str(k)): storable(v) for k, v in value.items()}
        case list() | tuple():
            return [storable(v) for v in value]
        case None | bool() | int() | float():
            return value
        case _:
            return storable(str(value))


def canonical(value: Any) -> str:
    """One spelling for equal JSON values: sorted keys, no spaces, ASCII (after RFC 8785's idea)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

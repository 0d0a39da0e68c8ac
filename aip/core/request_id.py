"""The id of the request that is served: in its response, in its error body and in its log lines."""

import re
from contextvars import ContextVar
from uuid import uuid4

# What the published client accepts as an id.
VALID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(given: str) -> str:
    """Use the client's own id for the request that begins, or a new one where it has none that is valid."""
    request_id = given if VALID.fullmatch(given) else uuid4().hex
    _current.set(request_id)
    return request_id


def current() -> str:
    """Empty outside a request."""
    return _current.get()

"""Ask a model again that is too busy or whose server failed: the only place where a request is retried.

The clients of the providers retry nothing by themselves: each has limits of its own, and none can be interrupted.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from langchain_core.exceptions import ModelConnectionError

Answer = TypeVar("Answer")

MAX_TRIES = 4
# All waiting together. A server that asks for more is not waited for.
MAX_WAIT_SECONDS = 60.0
TOO_MANY = 429
# Its code where waiting does not help.
NO_QUOTA = "insufficient_quota"


def retried(ask: Callable[[], Answer], wait: Callable[[float], None]) -> Answer:
    """What `ask` returns; asked again after 429, 5xx and where the server could not be reached.

    `wait` waits so many seconds, and raises what keeps the model from being asked again.
    """
    left = MAX_WAIT_SECONDS
    for tries in range(1, MAX_TRIES):
        try:
            return ask()
        except Exception as e:
            seconds = _seconds_to_wait(e, tries)
            if seconds is None or seconds > left:
                raise
        left -= seconds
        wait(seconds)
    return ask()


def _seconds_to_wait(exc: Exception, tries: int) -> float | None:
    """Until the next try: what the server asks for, else longer each time; None where another one is of no use."""
    failure = next((each for each in _causes(exc) if _status(each)), exc)
    status = _status(failure)
    is_busy = status == TOO_MANY and getattr(failure, "code", None) != NO_QUOTA
    if not (is_busy or 500 <= status < 600 or isinstance(exc, ModelConnectionError)):
        return None
    asked = _retry_after(getattr(getattr(failure, "response", None), "headers", None) or {})
    return 2.0 ** (tries - 1) if asked is None else asked


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = exc
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def _status(exc: BaseException) -> int:
    """The HTTP status that an error of a provider's client has, under one of its usual names; 0 if it has none."""
    response = getattr(exc, "response", None)
    of_exc, of_response, code = (
        getattr(exc, "status_code", None),
        getattr(response, "status_code", None),
        getattr(exc, "code", None),
    )
    for value in (of_exc, of_response, code):
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
    return 0


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    """Seconds, from a number, or from a date by the server's own clock; None where the header has neither."""
    text = str(headers.get("retry-after", ""))
    with suppress(ValueError):
        seconds = float(text)
        return max(0.0, seconds) if seconds < float("inf") else None
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    return None

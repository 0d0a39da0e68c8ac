"""Why the server refuses to do what it was asked. `aip.core.errors` translates each of these to HTTP.

The text of an exception is written for whoever asked, and nothing was changed when it is raised.
"""

from typing import Any


class DomainError(Exception):
    """The base class of the others; it is not raised itself."""


class NotFound(DomainError):
    """There is nothing with this id."""


class Conflict(DomainError):
    """The request is valid, and what is stored already rules it out."""


class Invalid(DomainError, ValueError):
    """The request itself is wrong. `errors` says why: one sentence, or a dict of them by field."""

    def __init__(self, errors: str | dict[str, Any]) -> None:
        self.errors = errors
        super().__init__(
            errors if isinstance(errors, str) else "; ".join(f"{field}: {why}" for field, why in errors.items())
        )


class Unreadable(Invalid):
    """The request cannot even be parsed."""


class TooLarge(DomainError):
    """The request exceeds a limit of size."""


class Unavailable(DomainError):
    """Something that the server needs does not answer right now; the same request may succeed later."""

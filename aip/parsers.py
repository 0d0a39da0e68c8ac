"""Reading request bodies: a JSON object that can be stored, or a clear refusal."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from hitl.seal import storable


def checked(data: Any) -> dict[str, Any]:
    """`data` if it is a JSON object that PostgreSQL can hold. Raises ParseError."""
    if not isinstance(data, dict):
        raise ParseError("The body must be a JSON object.")
    if storable(data) != data:
        raise ParseError(
            "The body holds a NUL character, half a surrogate pair or a number that is not finite; remove it."
        )
    return data


class ObjectParser(JSONParser):
    """JSON objects only. Also reads what curl sends with -d, which it labels as a form."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            return checked(super().parse(stream, media_type, parser_context))
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None


class CurlParser(ObjectParser):
    media_type = "application/x-www-form-urlencoded"

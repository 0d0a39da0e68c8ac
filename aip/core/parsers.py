"""Reading request bodies: a JSON object that can be stored, or a clear refusal."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from aip.core.jsonb import storable

# Deeper than any real body; below what Python's own recursion bears anywhere on a body's way.
MAX_DEPTH = 100


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, which PostgreSQL can hold. Raises ParseError."""
    data = read_json(body, "The body")
    if not isinstance(data, dict):
        raise ParseError('The body must be a JSON object, as in {"name": "value"}.')
    return data


def read_json(text: bytes, what: str) -> Any:
    """The JSON value in `text`, which PostgreSQL can hold. Raises ParseError, which says of `what` what is wrong."""
    data = _read(text, what)
    if is_deeper_than(MAX_DEPTH, data):
        raise ParseError(f"{what} is nested more than {MAX_DEPTH} levels deep; make it flatter.")
    if storable(data) != data:
        raise ParseError(
            f"{what} holds a NUL character, half a surrogate pair or a number that is not finite; remove it."
        )
    return data


def _read(text: bytes, what: str) -> Any:
    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """A reader that takes the first and one that takes the last would see two different requests."""
        found = dict(pairs)
        if len(found) != len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise ParseError(f"{what} names '{key[:100]}' twice in one object; name it once.")
        return found

    def refuse_constant(name: str) -> Any:
        raise ParseError(f"{what} is not valid JSON: {name} is not a JSON value.")

    try:
        return json.loads(text, object_pairs_hook=each_key_once, parse_constant=refuse_constant)
    except RecursionError:
        raise ParseError(f"{what} is nested more than {MAX_DEPTH} levels deep; make it flatter.") from None
    except json.JSONDecodeError as e:
        raise ParseError(f"{what} is not valid JSON: {e}.") from None
    except UnicodeDecodeError as e:
        raise ParseError(f"{what} is not UTF-8, byte {e.start + 1}: save or encode it as UTF-8.") from None
    except ValueError:  # Python reads whole numbers of at most 4300 digits
        raise ParseError(f"{what} holds a number with thousands of digits; send a shorter one.") from None


def is_deeper_than(levels: int, data: Any) -> bool:
    level = [data]
    for _ in range(levels):
        level = [child for value in level for child in _children(value)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class _Parser(BaseParser):
    """JSON objects only."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return read_object(stream.read())


class ObjectParser(_Parser):
    """What is described and labelled as it is."""

    media_type = "application/json"


class CurlParser(_Parser):
    """What curl sends with -d: JSON that is labelled as a form. Read, and not described."""

    media_type = "application/x-www-form-urlencoded"

"""Reading JSON that a client sent: a value that can be stored, or a clear refusal."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aip.core.exceptions import Unreadable
from aip.core.jsonb import storable

# Deeper than any real body; below what Python's own recursion limit allows wherever a body is processed.
MAX_DEPTH = 100


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, which PostgreSQL can hold. Raises Unreadable."""
    data = read_json(body, "The body")
    if not isinstance(data, dict):
        raise Unreadable('The body must be a JSON object, as in {"name": "value"}.')
    return data


def read_json(text: bytes, subject: str) -> Any:
    """The JSON value in `text`, which PostgreSQL can hold. Raises Unreadable, whose message begins with `subject`."""
    data = _parse(text, subject)
    if is_deeper_than(MAX_DEPTH, data):
        raise Unreadable(f"{subject} is nested more than {MAX_DEPTH} levels deep; make it flatter.")
    if storable(data) != data:
        raise Unreadable(
            f"{subject} holds a NUL character, half a surrogate pair or a number that is not finite; remove it."
        )
    return data


def _parse(text: bytes, subject: str) -> Any:
    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """A reader that uses the first value and one that uses the last would see two different requests."""
        found = dict(pairs)
        if len(found) != len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise Unreadable(f"{subject} names '{key[:100]}' twice in one object; name it once.")
        return found

    def refuse_constant(name: str) -> Any:
        raise Unreadable(f"{subject} is not valid JSON: {name} is not a JSON value.")

    try:
        return json.loads(text, object_pairs_hook=each_key_once, parse_constant=refuse_constant)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable(f"{subject} is nested more than {MAX_DEPTH} levels deep; make it flatter.") from None
    except json.JSONDecodeError as e:
        raise Unreadable(f"{subject} is not valid JSON: {e}.") from None
    except UnicodeDecodeError as e:
        raise Unreadable(f"{subject} is not UTF-8, byte {e.start + 1}: save or encode it as UTF-8.") from None
    except ValueError:  # Python parses integers of at most 4300 digits
        raise Unreadable(f"{subject} holds a number with thousands of digits; send a shorter one.") from None


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

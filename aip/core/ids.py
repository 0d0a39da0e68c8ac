"""Ids as clients send them."""

from uuid import UUID


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True

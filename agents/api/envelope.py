"""The envelope of the API's responses (contract 1.4)."""

from typing import Any


def envelope(data: Any, message: str = "ok", **paging: Any) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data, **paging}


def paging(total: int, page: int, limit: int) -> dict[str, Any]:
    """What a page has beside its data."""
    return {
        "total": total,
        "page": page,
        "limit": limit,
        "has_next": page * limit < total,
        "has_prev": page > 1,
    }

"""Durations as operators read them."""

from django import template

register = template.Library()
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.filter
def seconds(value: float) -> str:
    """Two units at most: `2 d 3 h`, `4 min 5 s`, `12 s`. The script counts down in the same words."""
    left = int(value)
    parts = []
    for size, unit in UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"

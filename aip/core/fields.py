"""Fields that are stricter than DRF's: JSON types mean what they say."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from aip.core.exceptions import Conflict, Invalid

MAX_ITEMS = 10_000
# More than any prompt; below the limit of a body.
MAX_TEXT = 4_000_000
T = TypeVar("T")
V = TypeVar("V")


class StrictText(serializers.CharField):
    """A string; a number is not one."""

    default_error_messages = {"invalid": "This must be a text."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ShortList(serializers.ListField):
    """A list of at most MAX_ITEMS. Stops at the first wrong item: millions of them are not worth a message each."""

    default_error_messages = {
        "not_a_list": "This must be a list.",
        "too_long": f"This list has {{length}} entries; at most {MAX_ITEMS} are possible.",
    }

    def run_child_validation(self, data: list[Any]) -> list[Any]:
        if len(data) > MAX_ITEMS:
            self.fail("too_long", length=len(data))
        return [self._item(index, item) for index, item in enumerate(data)]

    def _item(self, index: int, item: Any) -> Any:
        try:
            return self.child.run_validation(item)
        except serializers.ValidationError as e:
            raise serializers.ValidationError({str(index): e.detail}) from e


class Object(serializers.DictField):
    """A JSON object with any entries."""

    default_error_messages = {"not_a_dict": "This must be an object."}


@extend_schema_field(OpenApiTypes.BINARY)
class File(serializers.FileField):
    """An upload; the schema of DRF's own field is that of the URL which it would be answered with."""


def checked(check: Callable[[V], T], value: V) -> T:
    """What `check` returns; a refusal that it raises becomes the field's validation error."""
    try:
        return check(value)
    except (Invalid, Conflict) as e:
        raise serializers.ValidationError(str(e)) from e

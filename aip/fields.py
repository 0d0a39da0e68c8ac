"""Fields that are stricter than DRF's: JSON types mean what they say."""

from typing import Any

from rest_framework import serializers


class StrictText(serializers.CharField):
    """A string; a number is not one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)

"""The query parameters of the API (contract 4.1, 4.4, 4.5): what they may be, and how the OpenAPI document says it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers

from agents.api.run_serializers import RUN_TYPES, WIRE_STATUSES
from aip.core.exceptions import Unreadable

MAX_PAGE = 100
MAX_MODELS = 1000
MAX_NUMBER = 10**6
MAX_DIGITS = 9
MAX_EVENT_ID = 10**MAX_DIGITS - 1
METADATA = "metadata."
FLAGS = {"true": True, "1": True, "false": False, "0": False}


class WholeNumber(serializers.IntegerField):
    """ASCII digits alone; DRF's field accepts signs, spaces and "1.0" too."""

    default_error_messages = {"invalid": "{name} must be a whole number from {low} to {high}."}

    def __init__(self, low: int, high: int, **kwargs: Any) -> None:
        super().__init__(min_value=low, max_value=high, required=False, **kwargs)
        self.low, self.high = low, high

    def to_internal_value(self, data: Any) -> int:
        is_number = data.isascii() and data.isdigit() and len(data) <= MAX_DIGITS
        if not (is_number and self.low <= int(data) <= self.high):
            self.fail("invalid", name=self.field_name, low=self.low, high=self.high)
        return int(data)


class OneOf(serializers.ChoiceField):
    default_error_messages = {"invalid_choice": "{name} must be one of {words}."}

    def to_internal_value(self, data: Any) -> str:
        if data not in self.choices:
            self.fail("invalid_choice", name=self.field_name, words=", ".join(self.choices))
        return str(data)


class Flag(serializers.BooleanField):
    default_error_messages = {"invalid": "{name} must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if data.lower() not in FLAGS:
            self.fail("invalid", name=self.field_name)
        return FLAGS[data.lower()]


@extend_schema_field(str)
class Moment(serializers.Field[datetime, str, str, Any]):
    """A time, or a date alone: its first moment, or with `end_of_day` its last."""

    default_error_messages = {"invalid": "{name} must be a date or time such as 2025-10-14 or 2025-10-14T01:56:22Z."}

    def __init__(self, *, end_of_day: bool = False, **kwargs: Any) -> None:
        super().__init__(required=False, help_text="A date or a time in ISO 8601", **kwargs)
        self.end_of_day = end_of_day

    def to_internal_value(self, data: str) -> datetime:
        try:
            # A plus sign that was not escaped arrives as a space.
            found = datetime.fromisoformat(data[:10] + data[10:].replace(" ", "+"))
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("invalid", name=self.field_name)
        is_date = len(data) == len("2025-10-14")
        return found + timedelta(days=1, microseconds=-1) if self.end_of_day and is_date else found


class Text(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, trim_whitespace=False, **kwargs)


@extend_schema_field({"type": "string", "enum": ["custom", "native"]})
class ToolType(Text):
    """Any other type is one that no tool has."""


class QuerySerializer(serializers.Serializer[Any]):
    """Unknown parameters are ignored, and an empty one counts as absent."""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> dict[str, Any]:
        """The parameters by name, or by the lookup that is a field's `source`. Raises Unreadable."""
        texts = {name: str(text) for name, text in query.items()}
        if any("\0" in text for pair in texts.items() for text in pair):
            raise Unreadable("The query holds a NUL character (%00); remove it.")
        serializer = cls(data=texts)
        if not serializer.is_valid():
            raise Unreadable(serializer.errors)
        return dict(serializer.validated_data)

    def to_internal_value(self, data: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = super().to_internal_value({name: text for name, text in data.items() if text})
        return found


class AgentQuery(QuerySerializer):
    limit = WholeNumber(1, MAX_PAGE, help_text="Without it, all")
    page = WholeNumber(1, MAX_NUMBER, default=1)
    name = Text(source="name__icontains", help_text="A part of the name, in capital or small letters")
    agent_type = Text(source="type")
    framework = Text()
    version = Text()
    include_deleted = Flag(default=False, help_text="Also those that were deleted")
    created_at_start = Moment(source="created_at__gte")
    created_at_end = Moment(source="created_at__lte", end_of_day=True)
    updated_at_start = Moment(source="updated_at__gte")
    updated_at_end = Moment(source="updated_at__lte", end_of_day=True)

    def to_internal_value(self, data: Mapping[str, str]) -> dict[str, Any]:
        """With the filters by metadata, whose parameters have no fixed names, and may be empty."""
        metadata = {name.removeprefix(METADATA): text for name, text in data.items() if name.startswith(METADATA)}
        return {**super().to_internal_value(data), "metadata": metadata}


METADATA_FILTER = OpenApiParameter("metadata.{key}", str, description="The value of one entry of the metadata")


class RunQuery(QuerySerializer):
    limit = WholeNumber(1, MAX_PAGE, default=20)
    page = WholeNumber(1, MAX_NUMBER, default=1)
    status = OneOf(WIRE_STATUSES, required=False, help_text="A run that waits for a person is `started`")
    run_type = OneOf(RUN_TYPES, required=False, help_text="No run is scheduled yet")
    schedule_id = serializers.UUIDField(
        required=False, error_messages={"invalid": "schedule_id must be the id of a schedule, a UUID."}
    )


class ToolQuery(QuerySerializer):
    type = ToolType()


class ModelQuery(QuerySerializer):
    offset = WholeNumber(0, MAX_NUMBER, default=0)
    limit = WholeNumber(1, MAX_MODELS, default=MAX_MODELS)


class StreamQuery(QuerySerializer):
    after = WholeNumber(
        0,
        MAX_EVENT_ID,
        default=0,
        error_messages={
            "invalid": "after, or Last-Event-ID, must be the id of an event: a whole number, 0 for the beginning."
        },
    )

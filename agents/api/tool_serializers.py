"""The JSON of tools: what comes in is checked here, what goes out has one shape."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.models import Gate, Tool
from aip.core.fields import MAX_TEXT, File, StrictText

CUSTOM, NATIVE = "custom", "native"
MAX_TAGS = 10_000  # characters


class GateField(serializers.ChoiceField):
    """Whether a tool's calls always wait for a person."""

    default_error_messages = {"invalid_choice": f"This must be one of: {', '.join(Gate.values)}."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            Gate.choices,
            required=False,
            help_text="`ask`: each call waits for a person; `agent`: where its agent says so",
            **kwargs,
        )


class ToolSerializer(serializers.ModelSerializer[Tool]):
    account_id = serializers.SerializerMethodField()
    tool_type = serializers.SerializerMethodField()
    tool_file = serializers.CharField(source="current.file_name")
    tool_script = serializers.CharField(source="current.source")
    plugin_class_name = serializers.CharField(source="current.class_name")

    class Meta:
        model = Tool
        fields = [
            "id", "name", "account_id", "tool_type", "framework", "version", "description", "tags", "gate",
            "tool_file", "tool_script", "plugin_class_name", "created_at", "updated_at",
        ]  # fmt: skip

    def get_account_id(self, tool: Tool) -> str | None:
        return None if tool.is_native else str(self.context["account_id"])

    def get_tool_type(self, tool: Tool) -> str:
        return NATIVE if tool.is_native else CUSTOM


class ToolUploadSerializer(serializers.Serializer[Any]):
    file = File(
        error_messages=dict.fromkeys(
            ("required", "invalid", "no_name"),
            "Send the tool's Python file, with a file name, in the multipart field 'file'.",
        ),
        allow_empty_file=True,
    )
    framework = serializers.CharField(default="langchain", max_length=50)
    name = serializers.CharField(required=False, max_length=255, allow_blank=True)
    version = serializers.CharField(default="1.0", max_length=50)
    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT)
    tags = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TAGS, help_text="Comma-separated")
    object = serializers.CharField(
        required=False,
        max_length=255,
        help_text="Which tool of the file, where it has several: its variable, its class or its own name",
    )

    gate = GateField()

    def validate_tags(self, value: str) -> list[str]:
        return _tags(value)


class ToolReuploadSerializer(ToolUploadSerializer):
    """What PUT /tools/{id}/upload takes: what is not sent stays as it is."""

    framework = serializers.CharField(required=False, max_length=50)
    version = serializers.CharField(required=False, max_length=50)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A form without a name may hold an empty one."""
        return {key: value for key, value in attrs.items() if key != "name" or value}


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "nullable": True})
class Tags(serializers.Field[list[str], Any, list[str], Any]):
    """One comma-separated text, as the client sends them, or the list as it is read."""

    def to_internal_value(self, data: Any) -> list[str]:
        tags = data if isinstance(data, list) else [data]
        if not all(isinstance(tag, str) for tag in tags):
            raise serializers.ValidationError("This must be one text, its tags separated by commas.")
        text = ",".join(tags)
        if len(text) > MAX_TAGS:
            raise serializers.ValidationError(f"Ensure this field has no more than {MAX_TAGS} characters.")
        return _tags(text)


class ToolInputSerializer(serializers.Serializer[Any]):
    """What PUT /tools/{id} takes (contract 4.3). What is not sent, or null, stays as it is."""

    name = StrictText(required=False, allow_null=True, max_length=255)
    framework = StrictText(required=False, allow_null=True, max_length=50)
    version = StrictText(required=False, allow_null=True, max_length=50)
    description = StrictText(
        required=False, allow_blank=True, allow_null=True, max_length=MAX_TEXT, help_text="Empty: the class's own"
    )
    tags = Tags(required=False, allow_null=True, help_text="Comma-separated")
    gate = GateField(allow_null=True)

    def fields_of_tool(self) -> dict[str, Any]:
        """The arguments of the catalog's `change`."""
        return {key: value for key, value in self.validated_data.items() if value is not None}


class ToolScriptSerializer(serializers.Serializer[Any]):
    script = serializers.CharField()


def _tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]

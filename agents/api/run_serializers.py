"""The JSON of runs: requests that start one are validated here, and responses have one shape."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents.catalog import configs
from agents.models import Run, RunStatus
from agents.runs import events, queries
from agents.runs.attachments import MAX_FILES
from aip.core.fields import MAX_TEXT, File, Object, ShortList, StrictText, checked

RUN_TYPES = ("manual", "schedule")
WIRE_STATUSES = tuple(queries.STATUSES)


NO_EFFECT = "Accepted; has no effect"
TOKEN = f"{NO_EFFECT}, and is neither stored nor logged"


class ChatMessageSerializer(serializers.Serializer[Any]):
    role = serializers.JSONField(required=False, help_text="user, assistant or system; anything else is the user")
    content = serializers.CharField()


@extend_schema_field(ChatMessageSerializer(many=True))
class ChatHistory(ShortList):
    child = Object()


class RunInputSerializer(serializers.Serializer[Any]):
    """What POST /agents/{id}/run takes (contract 3.4.1). Unknown fields are ignored."""

    input = StrictText(min_length=1, max_length=MAX_TEXT, trim_whitespace=False, help_text="What the agent is asked")
    chat_history = ChatHistory(default=list, allow_null=True, help_text="What was said before")
    runtime_config = Object(
        default=dict,
        allow_null=True,
        help_text=(
            "`agent_config` and `tool_configs` that override the agent's for this run, key by key; "
            "also under the agent's own id"
        ),
    )
    pii_mapping = Object(required=False, allow_null=True, help_text=NO_EFFECT)
    enable_pii = serializers.JSONField(required=False, allow_null=True, help_text=NO_EFFECT)
    user_id = serializers.JSONField(required=False, allow_null=True, help_text=NO_EFFECT)
    memory_user_id = serializers.JSONField(required=False, allow_null=True, help_text=NO_EFFECT)
    gl_connectors_token = serializers.JSONField(required=False, allow_null=True, help_text=TOKEN)

    def validate_chat_history(self, value: list[dict[str, Any]] | None) -> list[dict[str, str]]:
        roles = {"assistant": "assistant", "ai": "assistant", "system": "system"}
        for message in value or []:
            if not isinstance(message.get("content"), str):
                raise serializers.ValidationError('Each message is an object with the texts "role" and "content".')
        return [
            {"role": roles.get(str(message.get("role")), "user"), "content": message["content"]}
            for message in value or []
        ]

    def validate_runtime_config(self, value: dict[str, Any] | None) -> dict[str, Any]:
        config = {key: entry for key, entry in (value or {}).items() if entry is not None}
        for key in ("agent_config", "tool_configs"):
            if not isinstance(config.get(key, {}), dict):
                raise serializers.ValidationError(f"{key} must be an object.")
        if "tool_configs" in config:
            config["tool_configs"] = checked(configs.by_tool_id, config["tool_configs"])
        return config

    def fields_of_run(self) -> dict[str, Any]:
        """The arguments of `lifecycle.start`: the fields that have an effect. No token is kept."""
        return {key: self.validated_data[key] for key in ("input", "chat_history", "runtime_config")}


class RunFormSerializer(serializers.Serializer[Any]):
    """What starts a run together with files."""

    # For the OpenAPI document; `agents.api.multipart` reads the form.

    input = StrictText(min_length=1, max_length=MAX_TEXT, help_text="What the agent is asked")
    files = serializers.ListField(child=File(), required=False, max_length=MAX_FILES)
    chat_history = serializers.CharField(required=False, allow_blank=True, help_text="As JSON")
    runtime_config = serializers.CharField(required=False, allow_blank=True, help_text="As JSON")
    pii_mapping = serializers.CharField(required=False, allow_blank=True, help_text=f"As JSON. {NO_EFFECT}")
    enable_pii = serializers.CharField(required=False, allow_blank=True, help_text=NO_EFFECT)
    gl_connectors_token = serializers.CharField(required=False, allow_blank=True, help_text=TOKEN)


class RunSerializer(serializers.Serializer[Any]):
    """A run in a list (contract 4.4). One that waits is `started`, and one that no worker has begun is too."""

    id = serializers.UUIDField()
    agent_id = serializers.UUIDField()
    run_type = serializers.ChoiceField(choices=RUN_TYPES)
    schedule_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=WIRE_STATUSES)
    input = serializers.CharField()
    config = serializers.DictField(allow_null=True, help_text="The `runtime_config` that the run was started with")
    started_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Run) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "agent_id": str(instance.agent_id),
            "run_type": "manual",
            "schedule_id": None,
            "status": queries.WIRE_STATUS[RunStatus(instance.status)],
            "input": instance.input,
            "config": instance.config,
            "started_at": (instance.started_at or instance.created_at).isoformat(),
            "completed_at": instance.completed_at.isoformat() if instance.completed_at else None,
            "created_at": instance.created_at.isoformat(),
            "updated_at": instance.updated_at.isoformat(),
        }


class RunDetailSerializer(RunSerializer):
    output = serializers.ListField(child=serializers.DictField(), help_text="The events of its stream, in order")
    resumable_until = serializers.DateTimeField(
        required=False, help_text="Until when this failed run can be resumed; absent: it cannot"
    )
    total_usage = serializers.DictField(required=False, help_text="Tokens, as the model counted them")

    def to_representation(self, instance: Run) -> dict[str, Any]:
        rows = list(instance.events.order_by("seq").values_list("seq", "payload"))
        shown = [payload for _, payload in events.in_order(rows, is_all=True)]
        usage = next((payload["usage"] for payload in shown if payload["metadata"]["kind"] == "usage"), None)
        return {
            **super().to_representation(instance),
            "output": shown,
            **({"resumable_until": instance.resumable_until.isoformat()} if instance.resumable_until else {}),
            **({"total_usage": usage} if usage else {}),
        }

"""Approval requests and decisions on the wire (contract 3.6 and 3.7)."""

from typing import Any

from rest_framework import serializers

from aip.fields import StrictText
from hitl.approvals import DECIDABLE
from hitl.models import ApprovalRequest

MAX_NOTE = 20_000
WORDS = [str(word) for word in DECIDABLE]
ONE_OF = f"This must be one of {', '.join(WORDS)}."


class HitlMetadataSerializer(serializers.Serializer[Any]):
    required = serializers.BooleanField()  # type: ignore[assignment]
    decision = serializers.CharField()
    timeout_at = serializers.DateTimeField()
    timeout_seconds = serializers.FloatField()


class AdditionalContextSerializer(serializers.Serializer[Any]):
    tool_name = serializers.CharField()
    arguments = serializers.DictField()
    agent_id = serializers.CharField()


class PendingSerializer(serializers.Serializer[Any]):
    request_id = serializers.UUIDField()
    tool = serializers.CharField()
    arguments = serializers.DictField()
    created_at = serializers.DateTimeField()
    agent_id = serializers.CharField(help_text="The agent's name and the first eight characters of its id")
    run_id = serializers.UUIDField()
    seal = serializers.CharField(help_text="The short form of the fingerprint of exactly this call")
    round = serializers.IntegerField(help_text="Above 1 when the call is asked about again")
    reason = serializers.CharField(help_text="Why it is asked about again; empty in the first round")
    hitl_metadata = HitlMetadataSerializer()
    additional_context = AdditionalContextSerializer()

    def to_representation(self, instance: ApprovalRequest) -> dict[str, Any]:
        agent = f"{instance.agent_name}-{str(instance.agent_id)[:8]}"
        return {
            "request_id": str(instance.pk),
            "tool": instance.tool_name,
            "arguments": instance.arguments,
            "created_at": instance.created_at.isoformat(),
            "agent_id": agent,
            "run_id": str(instance.run_id),
            "seal": instance.short_seal,
            "round": instance.round,
            "reason": instance.reason,
            "hitl_metadata": instance.as_metadata(),
            "additional_context": {
                "tool_name": instance.tool_name,
                "arguments": instance.arguments,
                "agent_id": agent,
            },
        }


class DecisionSerializer(serializers.Serializer[Any]):
    request_id = StrictText(max_length=255)
    decision = serializers.ChoiceField(
        choices=WORDS, error_messages=dict.fromkeys(("required", "null", "invalid_choice"), ONE_OF)
    )
    operator_input = StrictText(
        required=False, allow_blank=True, allow_null=True, max_length=MAX_NOTE, trim_whitespace=False
    )
    run_id = StrictText(
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=MAX_NOTE,
        help_text="Your own tracker; stored, not checked",
    )


class DecidedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()
    message = serializers.CharField()

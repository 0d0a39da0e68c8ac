"""Approval requests and decisions on the wire (contract 3.6 and 3.7)."""

from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from rest_framework import serializers

from aip.core.fields import Object, StrictText
from hitl.approvals import DECIDABLE
from hitl.decision_rules import MAX_ANSWER, MAX_NOTE, NO_ANSWER, SEAL_PATTERN
from hitl.models import SHORT_SEAL, ApprovalRequest, Decision, Status

DECISIONS = [str(decision) for decision in DECIDABLE]
NOT_A_SEAL = "This must be the first eight or more characters of a seal, or all 64."
ONE_OF = f"This must be one of {', '.join(DECISIONS)}."


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
    destructive = serializers.BooleanField(help_text="Whether the tool is set to be one whose approval asks twice")
    round = serializers.IntegerField(help_text="Above 1 when the call is asked about again")
    reason = serializers.CharField(help_text="Why it is asked about again; empty in the first round")
    default_arguments = serializers.DictField(
        help_text="The tool's own values for what `arguments` leave out; it runs with them"
    )
    settings = serializers.DictField(
        help_text="By name, what `agent` or `run` has set for the tool (`set_by`), and its `value`; secrets are masked"
    )
    warning = serializers.CharField(help_text="What to know of this call before it is decided, if anything")
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
            "destructive": instance.destructive,
            "round": instance.round,
            "reason": instance.reason,
            "default_arguments": instance.default_arguments,
            "settings": instance.shown_settings,
            "warning": instance.warning,
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
        choices=DECISIONS, error_messages=dict.fromkeys(("required", "null", "invalid_choice"), ONE_OF)
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

    arguments = Object(
        required=False,
        allow_null=True,
        help_text="With `approved`: run the call with these instead, all of them; checked by the tool's schema",
    )
    answer = StrictText(
        required=False,
        allow_null=True,
        max_length=MAX_ANSWER,
        trim_whitespace=False,
        error_messages={"blank": NO_ANSWER},
        help_text="With `skipped`: the call's result in place of the tool's",
    )
    seal = StrictText(
        required=False,
        allow_null=True,
        validators=[RegexValidator(SEAL_PATTERN, NOT_A_SEAL)],
        help_text="That of the call you saw, whole or its first eight characters; 409 when another one is pending",
    )

    stop_run = serializers.BooleanField(
        required=False, allow_null=True, help_text="With `rejected`: the run ends as cancelled, with its other requests"
    )


class DecidedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()
    message = serializers.CharField()
    request_id = serializers.UUIDField()
    decision = serializers.CharField()
    arguments = serializers.DictField(allow_null=True, help_text="What will run; null when nothing will")
    answer = serializers.CharField(allow_null=True, help_text="The call's result in place of the tool's, if any")
    seal = serializers.CharField(allow_null=True, help_text="The short form of the fingerprint of what will run")

    def to_representation(self, instance: Decision) -> dict[str, Any]:
        request = instance.request
        runs = instance.decision == Status.APPROVED
        return {
            "status": "ok",
            "message": f"The request was {request.outcome}.",
            "request_id": str(request.pk),
            "decision": instance.decision,
            "arguments": request.to_run if runs else None,
            "answer": instance.answer,
            "seal": request.seal_to_run[:SHORT_SEAL] if runs else None,
        }


class ExtensionSerializer(serializers.Serializer[Any]):
    seconds = serializers.IntegerField(
        min_value=1, max_value=settings.HITL_MAX_TIMEOUT_SECONDS, help_text="How much longer the request shall wait"
    )


class ExtendedSerializer(serializers.Serializer[Any]):
    status = serializers.CharField()
    message = serializers.CharField()
    request_id = serializers.UUIDField()
    timeout_at = serializers.DateTimeField()
    timeout_seconds = serializers.FloatField()

    def to_representation(self, instance: ApprovalRequest) -> dict[str, Any]:
        deadline = instance.as_metadata()
        return {
            "status": "ok",
            "message": f"The request waits until {deadline['timeout_at']}.",
            "request_id": str(instance.pk),
            "timeout_at": deadline["timeout_at"],
            "timeout_seconds": deadline["timeout_seconds"],
        }

"""Approval requests and decisions. Only `hitl.approvals` writes them."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from aip.core.text import visible
from hitl.seal import Arguments

# Characters of a seal that people are shown.
SHORT_SEAL = 8
# What people are told of a `skipped` call that an operator answered.
ANSWERED = "answered"
# The note of the decision that the clock makes when a run reaches its own limit.
RUN_TIMEOUT_NOTE = "TIMEOUT of the run"


class Status(models.TextChoices):
    """The outcome of a request. Values as in the API, plus `cancelled`, which the API does not have."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    TIMEOUT_SKIP = "timeout_skip"
    CANCELLED = "cancelled"


class Execution(models.TextChoices):
    """The state of an approved call.

    A started call is started again, by the run's next holder, only where its tool says that a repetition does no harm.
    """

    NONE = "none"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    # The tool itself refused the call before it began.
    NOT_RUN = "not_run"
    UNKNOWN = "unknown"


# How a call ends of which it is known what became of it; each leaves an output.
ENDED = (Execution.FINISHED, Execution.FAILED, Execution.NOT_RUN)


class ApprovalRequest(models.Model):
    """A gated call that waits, or waited, for a person: a snapshot that outlives its agent and its run.

    `checkpoint_ns` names the call within its run (LangGraph's namespace of the tool task: the same on
    every resume, another for every call). `agent_id`, `run_id` and `tool_id` are plain ids, so that this
    app needs nothing of the app that has the agents.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run_id = models.UUIDField()
    agent_id = models.UUIDField()
    agent_name = models.CharField(max_length=255)
    checkpoint_ns = models.CharField(max_length=500)
    round = models.PositiveIntegerField(default=1)
    reason = models.TextField(blank=True, help_text="Why this call is asked about again, when it is")

    tool_id = models.UUIDField()
    tool_version = models.CharField(max_length=64, help_text="SHA-256 of the source that will run")
    packages = models.CharField(
        max_length=64, blank=True, db_default="", help_text="Names the exact set of the tool's own packages, if any"
    )
    tool_name = models.CharField(max_length=255)
    tool_call_id = models.CharField(max_length=255)
    arguments = models.JSONField()
    model_arguments = models.JSONField(
        null=True, help_text="What the model asked with, where `arguments` are an operator's of an earlier round"
    )
    tool_defaults = models.JSONField(
        default=dict, db_default={}, help_text="The tool's own value for each argument that may be left out"
    )
    settings = models.JSONField(
        default=dict, db_default={}, help_text="What agent and run gave the tool, secrets masked"
    )
    args_schema = models.JSONField(default=dict, help_text="JSON Schema of the tool's arguments")
    destructive = models.BooleanField(default=False, db_default=False, help_text="Approving needs a second press")
    requester = models.CharField(max_length=150, blank=True, db_default="", help_text="The user who started the run")
    context = models.JSONField(default=dict, help_text="What led to the call, and what its agent was told")
    warning = models.TextField(blank=True, db_default="", help_text="What to know of this call before it is decided")
    seal = models.CharField(max_length=64, help_text="Fingerprint of exactly this call")
    seal_version = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="What the seal covers; see `hitl.seal`"
    )

    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    timeout_seconds = models.FloatField()
    created_at = models.DateTimeField()
    timeout_at = models.DateTimeField(help_text="created_at + timeout_seconds")
    closed_at = models.DateTimeField(null=True)
    # When its outcome was delivered: the code calls a closed request without it undelivered.
    settled_at = models.DateTimeField(null=True, help_text="When its run took up what became of it, or ended")

    execution = models.CharField(max_length=20, choices=Execution, default=Execution.NONE)
    execution_started_at = models.DateTimeField(null=True)
    execution_ended_at = models.DateTimeField(null=True)
    output = models.TextField(null=True, help_text="What the tool returned, or why it failed")  # noqa: DJ001 - "" is an output

    class Meta:
        ordering = ["timeout_at"]
        verbose_name_plural = "history"  # as the admin, which shows the past ones, calls its list
        default_permissions = ["view"]
        permissions = [("decide_approvalrequest", "Can decide approval requests")]
        constraints = [
            # The first also serves the gate's look-up of its request on every entry.
            models.UniqueConstraint(fields=["run_id", "checkpoint_ns", "round"], name="one_request_per_round"),
            models.UniqueConstraint(
                fields=["run_id", "checkpoint_ns"],
                condition=Q(status="pending"),
                name="one_open_request_per_call",
            ),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="request_status_known"),
            models.CheckConstraint(condition=Q(execution__in=Execution.values), name="request_execution_known"),
            models.CheckConstraint(
                condition=Q(status="pending", closed_at__isnull=True)
                | (~Q(status="pending") & Q(closed_at__isnull=False)),
                name="request_closed_at_set_when_closed",
            ),
            models.CheckConstraint(
                condition=Q(settled_at__isnull=True) | ~Q(status="pending"), name="request_settled_only_when_closed"
            ),
            models.CheckConstraint(
                condition=Q(execution="none") | Q(status="approved"), name="request_runs_only_when_approved"
            ),
            models.CheckConstraint(
                condition=Q(execution="none", execution_started_at__isnull=True)
                | (~Q(execution="none") & Q(execution_started_at__isnull=False)),
                name="request_execution_started_at_set_when_started",
            ),
            models.CheckConstraint(
                condition=Q(execution__in=ENDED, output__isnull=False)
                | (~Q(execution__in=ENDED) & Q(output__isnull=True)),
                name="request_output_set_when_run",
            ),
            models.CheckConstraint(condition=Q(timeout_at__gt=F("created_at")), name="request_timeout_after_creation"),
        ]
        indexes = [
            # The pending list and the console, in the order they are shown; the sweep's look for overdue ones.
            models.Index(fields=["timeout_at", "id"], condition=Q(status="pending"), name="pending_in_line"),
            # The inbox's filters: what they offer, and what waits of one tool or agent.
            models.Index(
                fields=["tool_name", "timeout_at", "id"], condition=Q(status="pending"), name="pending_of_a_tool"
            ),
            models.Index(
                fields=["agent_name", "timeout_at", "id"], condition=Q(status="pending"), name="pending_of_an_agent"
            ),
            # Whether a parked run has an undelivered request: for the worker that claims it, and for the sweep, every
            # second.
            models.Index(
                fields=["run_id"],
                condition=Q(settled_at__isnull=True) & ~Q(status="pending"),
                name="closed_and_not_settled",
            ),
            # The console's list of what was closed in the last minutes; the history and its export.
            models.Index(fields=["-closed_at"], name="requests_last_closed_first"),
            # The admin's filters, which offer what the newest have.
            models.Index(fields=["-created_at"], name="requests_newest_first"),
            # The page of a request: what was decided about its tool before.
            models.Index(
                fields=["tool_id", "-closed_at"],
                condition=Q(status__in=["approved", "rejected", "skipped"]),
                name="decided_calls_of_a_tool",
            ),
        ]

    def __str__(self) -> str:
        return visible(f"{self.tool_name} for {self.agent_name}")

    @property
    def short_seal(self) -> str:
        """What people are shown of the seal: on the console, in the API and in the log."""
        return self.seal[:SHORT_SEAL]

    @property
    def decided(self) -> "Decision | None":
        """Its decision, if there is one. Costs no statement where it was read with the request."""
        return getattr(self, "decision", None)

    @property
    def outcome(self) -> str:
        """What became of it, in the wire's words; an answered call is `skipped` there, and marked."""
        return ANSWERED if self.decided and self.decided.answer is not None else self.status

    @property
    def seal_to_run(self) -> str:
        """The fingerprint of the call that an approval lets run."""
        return (self.decided.seal if self.decided else "") or self.seal

    @property
    def operators_arguments(self) -> Arguments | None:
        """What an operator put in place of the model's arguments, now or in an earlier round."""
        edited: Arguments | None = self.decided.arguments if self.decided else None
        return self.arguments if edited is None and self.model_arguments is not None else edited

    @property
    def to_run(self) -> Arguments:
        """The arguments that an approval lets run."""
        edited = self.operators_arguments
        return self.arguments if edited is None else edited

    @property
    def default_arguments(self) -> Arguments:
        """The values of the tool's own with which it would run what was asked."""
        return self.defaults_beside(self.arguments)

    @property
    def shown_settings(self) -> dict[str, dict[str, Any]]:
        """The settings that agent and run gave, by name: `value`, with secrets masked, and `set_by`."""
        return {
            name: {"value": entry["value"], "set_by": entry["set_by"]} for name, entry in sorted(self.settings.items())
        }

    def defaults_beside(self, arguments: Arguments) -> Arguments:
        """The values that the tool uses for what `arguments` leave out."""
        return {name: value for name, value in self.tool_defaults.items() if name not in arguments}

    @property
    def asked_arguments(self) -> Arguments:
        """The arguments that the model asked with."""
        asked: Arguments = self.arguments if self.model_arguments is None else self.model_arguments
        return asked

    def as_metadata(self) -> dict[str, Any]:
        """The wire's `hitl` object (contract 3.5), the same on the stream and in the pending list."""
        seconds = self.timeout_seconds
        return {
            "required": True,
            "decision": self.status,
            "timeout_at": self.timeout_at.isoformat(),
            "timeout_seconds": int(seconds) if seconds == int(seconds) else seconds,
        }


class Source(models.TextChoices):
    """Where a decision came from."""

    CONSOLE = "console"
    API = "api"
    TIMEOUT = "timeout"


class Decision(models.Model):
    """Who decided a request, when, from where, what, and exactly which call it lets run."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.OneToOneField(ApprovalRequest, on_delete=models.PROTECT, related_name="decision")
    decision = models.CharField(max_length=20, choices=Status)
    operator_input = models.TextField(blank=True)
    source = models.CharField(max_length=10, choices=Source)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    decided_by_name = models.CharField(max_length=150, blank=True, help_text="Kept when the user is deleted")
    arguments = models.JSONField(null=True, help_text="What it lets run in place of what was asked")
    answer = models.TextField(null=True, help_text="The call's result in place of the tool's")  # noqa: DJ001 - as above
    client_run_id = models.TextField(blank=True, help_text="The caller's own tracker, stored and not checked")
    seal = models.CharField(max_length=64, blank=True, help_text="Fingerprint of the call that it lets run")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ["view"]
        constraints = [
            models.CheckConstraint(
                condition=Q(decision__in=["approved", "rejected", "skipped", "timeout_skip"]),
                name="decision_known",
            ),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="decision_source_known"),
            models.CheckConstraint(
                condition=Q(decision="approved", seal__gt="") | (~Q(decision="approved") & Q(seal="")),
                name="decision_sealed_when_approved",
            ),
            models.CheckConstraint(
                condition=(Q(decision="timeout_skip") & Q(source="timeout"))
                | (~Q(decision="timeout_skip") & ~Q(source="timeout")),
                name="decision_times_out_by_the_clock_alone",
            ),
            models.CheckConstraint(
                condition=Q(arguments__isnull=True) | Q(decision="approved"), name="decision_edits_only_when_approved"
            ),
            models.CheckConstraint(
                condition=Q(answer__isnull=True) | Q(decision="skipped", answer__gt=""),
                name="decision_answers_only_when_skipped",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.decision} by {self.decided_by_name or self.source}"

    @property
    def is_of_runs_limit(self) -> bool:
        """Whether nothing goes on after it: the run failed at its own limit while the request waited."""
        return self.source == Source.TIMEOUT and self.operator_input == RUN_TIMEOUT_NOTE


class Extension(models.Model):
    """Who gave a request more time, when, from where and how much: one row each time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="extensions", db_index=False)
    seconds = models.PositiveIntegerField()
    timeout_at = models.DateTimeField(help_text="The deadline from then on")
    source = models.CharField(max_length=10, choices=Source)
    extended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    extended_by_name = models.CharField(max_length=150, help_text="Kept when the user is deleted")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ["view"]
        ordering = ["created_at"]
        # The page of a request lists its own.
        indexes = [models.Index(fields=["request", "created_at"], name="extensions_of_a_request")]
        constraints = [
            models.CheckConstraint(condition=Q(seconds__gt=0), name="extension_is_longer"),
            models.CheckConstraint(condition=Q(source__in=["console", "api"]), name="extension_by_a_person"),
        ]

    def __str__(self) -> str:
        return f"{self.seconds} s by {self.extended_by_name}"

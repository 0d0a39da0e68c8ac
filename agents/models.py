"""Tools, agents, runs and their events."""

import uuid
from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from aip.core.text import visible


class Installation(models.Model):
    """The one account of this server. Its id is the `account_id` of every agent and tool."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    only = models.BooleanField(default=True, unique=True, editable=False)

    class Meta:
        default_permissions = []
        constraints = [models.CheckConstraint(condition=Q(only=True), name="one_installation")]

    def __str__(self) -> str:
        return str(self.id)


class Gate(models.TextChoices):
    """Whether a tool's calls wait for a person; the stricter of the tool's and its agent's word counts."""

    AGENT = "agent", "as its agent says"
    ASK = "ask", "always"


class Tool(models.Model):
    """A tool under the name that its uploader gave it. `agents.catalog.tools` writes it.

    Native tools come with the server: `agents.catalog.native` writes them.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    framework = models.CharField(max_length=50, default="langchain")
    version = models.CharField(max_length=50, default="1.0")
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list)
    is_native = models.BooleanField(default=False, db_default=False, help_text="It comes with the server")
    gate = models.CharField(max_length=10, choices=Gate, default=Gate.AGENT, db_default=Gate.AGENT)
    current = models.OneToOneField("ToolVersion", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Also serves the look-up of a name at upload.
            models.UniqueConstraint(
                fields=["name"], condition=Q(deleted_at__isnull=True, is_native=False), name="one_living_tool_per_name"
            ),
            # They are in no account, so an uploaded tool may have the same name.
            models.UniqueConstraint(fields=["name"], condition=Q(is_native=True), name="one_native_tool_per_name"),
            models.CheckConstraint(condition=Q(gate__in=Gate.values), name="tool_gate_known"),
        ]
        # GET /tools/ lists them all, newest first.
        indexes = [models.Index(fields=["-created_at"], name="tools_newest_first")]

    def __str__(self) -> str:
        return visible(self.name)


class ToolVersion(models.Model):
    """One uploaded file and what it says of itself. Never changed: a run keeps the version it began with."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the source, in hexadecimal")
    file_name = models.CharField(max_length=255)
    source = models.TextField()
    class_name = models.CharField(max_length=255)
    object_name = models.CharField(
        max_length=255, blank=True, db_default="", help_text="The module's attribute that is the tool; empty: the class"
    )
    tool_name = models.CharField(max_length=64, help_text="The class's own name: what the model calls")
    description = models.TextField()
    args_schema = models.JSONField(help_text="JSON Schema of the arguments")
    manifest = models.JSONField(
        default=dict, db_default={}, help_text="What the upload learned beside that; empty: uploaded before it was kept"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ["view"]
        # What has changed in a tool's code since its last approved call.
        indexes = [models.Index(fields=["digest"], name="versions_by_digest")]

    def __str__(self) -> str:
        return f"{visible(self.tool_name)} {self.digest[:8]}"


class Agent(models.Model):
    """What an agent is told, which model and tools it has, and which of its calls wait for a person."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=255)
    instruction = models.TextField(blank=True)
    description = models.TextField(null=True)  # noqa: DJ001 - the wire tells null from ""
    type = models.CharField(max_length=50, default="config")
    framework = models.CharField(max_length=50, default="langchain")
    version = models.CharField(max_length=50, default="1.0")
    tools = models.ManyToManyField(Tool, through="AgentTool", related_name="agents")
    agents = models.ManyToManyField(
        "self", through="SubAgent", through_fields=("agent", "sub_agent"), symmetrical=False, related_name="leaders"
    )
    agent_config = models.JSONField(default=dict)
    tool_configs = models.JSONField(default=dict, help_text="By tool id")
    mcp_configs = models.JSONField(null=True)
    metadata = models.JSONField(default=dict)
    skills = models.JSONField(null=True)
    a2a_profile = models.JSONField(null=True)
    language_model_id = models.CharField(max_length=255, null=True)  # noqa: DJ001 - null on the wire
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        # GET /agents/ lists them newest first.
        indexes = [models.Index(fields=["-created_at"], name="agents_newest_first")]

    def __str__(self) -> str:
        return visible(self.name)


class AgentTool(models.Model):
    """A tool of an agent, in the order in which the agent was given it."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="agent_tools", db_index=False)
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="agent_tools")
    position = models.PositiveIntegerField()

    class Meta:
        default_permissions = []
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "position"], name="one_tool_per_position"),
            models.UniqueConstraint(fields=["agent", "tool"], name="a_tool_once_per_agent"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.tool_id}"


class SubAgent(models.Model):
    """An agent to which another one may give tasks, in the order in which it was given them."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="sub_agents", db_index=False)
    sub_agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="led_by")
    position = models.PositiveIntegerField()

    class Meta:
        default_permissions = []
        ordering = ["position"]
        constraints = [
            # Also serves the look at an agent's sub-agents.
            models.UniqueConstraint(fields=["agent", "position"], name="one_sub_agent_per_position"),
            models.UniqueConstraint(fields=["agent", "sub_agent"], name="a_sub_agent_once_per_agent"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.sub_agent_id}"


class RunStatus(models.TextChoices):
    """Where a run stands. `running`: a worker holds it. `waiting`: parked on a decision, held by nobody.

    A running run goes back to `queued` when its holder's lease has expired, a waiting one only by the doctor.
    """

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)
LIVING = tuple(status for status in RunStatus if status not in ENDED)

REQUEUE_AFTER = timedelta(seconds=10)


class Run(models.Model):
    """One run of an agent. `agents.runs.lifecycle` writes it.

    `spec` is frozen when the run starts: instruction, model, the version of each tool and its settings.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="runs", db_index=False)
    status = models.CharField(max_length=20, choices=RunStatus, default=RunStatus.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="How often a worker has claimed it")
    holder = models.CharField(max_length=255, blank=True, help_text="The process that holds it: a heartbeat's name")
    input = models.TextField()
    config = models.JSONField(null=True, help_text="What it was given to override its agent's settings")
    spec = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, help_text="When a worker first claimed it")
    completed_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True, help_text="Its own limit, waiting included")
    resumptions = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often it was resumed after it had failed"
    )
    resumable_until = models.DateTimeField(
        null=True, help_text="Until when a failed run keeps its checkpoint and can be resumed"
    )
    requeues = models.PositiveSmallIntegerField(default=0, help_text="How often the sweep has queued it again")
    requeue_at = models.DateTimeField(
        db_default=Now() + REQUEUE_AFTER, help_text="If it still waits for a worker then, the queue has lost it"
    )
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ["add", "view"]
        permissions = [("cancel_run", "Can cancel runs"), ("resume_run", "Can resume failed runs")]
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="run_status_known"),
            models.CheckConstraint(
                condition=(Q(status="running") & ~Q(holder="")) | (~Q(status="running") & Q(holder="")),
                name="run_held_when_running",
            ),
            models.CheckConstraint(
                condition=(Q(status__in=ENDED) & Q(completed_at__isnull=False))
                | (~Q(status__in=ENDED) & Q(completed_at__isnull=True)),
                name="run_completed_at_set_when_ended",
            ),
            models.CheckConstraint(
                condition=Q(resumable_until__isnull=True) | Q(status="failed"), name="run_resumable_only_when_failed"
            ),
        ]
        indexes = [
            # A page of one agent's runs, newest first, and their number; the foreign key itself.
            models.Index(fields=["agent", "-created_at", "id"], name="runs_of_agent_newest_first"),
            # The same of one status.
            models.Index(fields=["agent", "status", "-created_at", "id"], name="runs_of_agent_by_status"),
            # The admin's list.
            models.Index(fields=["-created_at"], name="runs_newest_first"),
            # The sweep's look, every second, for what the queue has lost.
            models.Index(fields=["requeue_at"], condition=Q(status="queued"), name="queued_by_requeue_at"),
            # A worker's look, every two seconds, for its own runs; the sweep's for those whose holder is gone.
            models.Index(fields=["holder"], condition=Q(status="running"), name="running_by_holder"),
            # The sweep's look, every second, for runs past their own limit.
            models.Index(
                fields=["deadline_at"],
                condition=Q(status__in=["queued", "running", "waiting"], deadline_at__isnull=False),
                name="living_by_deadline",
            ),
            # The sweep's look, every second, for failed runs whose checkpoints are no longer kept.
            models.Index(
                fields=["resumable_until"],
                condition=Q(resumable_until__isnull=False),
                name="failed_by_resumable_until",
            ),
        ]

    def __str__(self) -> str:
        return f"Run {str(self.id)[:8]}"


class RunFile(models.Model):
    """A file that came with a run, as it was sent. `agents.runs.attachments` writes it.

    What the model reads of it is part of the run's spec.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="files", db_index=False)
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.PositiveIntegerField(help_text="In bytes")
    is_text = models.BooleanField(help_text="UTF-8, so that the model was given what it says")
    content = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = []
        ordering = ["position"]
        # Also serves the files of a run.
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_file_per_position")]

    def __str__(self) -> str:
        return visible(self.name)


class RunEvent(models.Model):
    """One event of a run as its stream carries it. `agents.runs.events` writes it.

    `key` names what the event reports, so that a second report of the same thing is dropped.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField()
    key = models.CharField(max_length=255)
    payload = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ["view"]
        ordering = ["seq"]
        constraints = [
            # Also serves the streams: the events of a run after a seq.
            models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_seq"),
            models.UniqueConstraint(fields=["run", "key"], name="one_report_per_key"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} #{self.seq}"


class Heartbeat(models.Model):
    """A living worker or sweep, written by `agents.runs.heartbeats`. A worker's is the lease of the runs it holds."""

    kind = models.CharField(max_length=10)
    name = models.CharField(max_length=255, help_text="host:pid:token")
    beat_at = models.DateTimeField()

    class Meta:
        default_permissions = ["view"]
        # Also serves the fence: the heartbeat of a run's holder.
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="one_heartbeat_per_process")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

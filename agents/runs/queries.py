"""Runs as their lists and pages show them. Reads only."""

from uuid import UUID

from django.db.models import QuerySet

from agents.models import Agent, Run, RunStatus
from agents.runs import lifecycle
from aip.core.ids import is_uuid, no_such

# The statuses of the API, which has none for waiting, and some that no run has here.
STATUSES = {
    "started": (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING),
    "success": (RunStatus.SUCCEEDED,),
    "failed": (RunStatus.FAILED,),
    "cancelled": (RunStatus.CANCELLED,),
    "aborted": (),
    "unavailable": (),
}
WIRE_STATUS = {status: name for name, statuses in STATUSES.items() for status in statuses}
NEWEST_FIRST = ("-created_at", "id")
# What is shown; not the spec, which is as long as the tools' schemas and the files that came with the run.
SHOWN = ("agent", "status", "input", "config", "created_at", "started_at", "completed_at", "updated_at")


def of_agent(agent_id: str, *, status: str | None, scheduled: bool) -> QuerySet[Run]:
    """The runs of an agent, who may be deleted by now, newest first. No run is scheduled. Raises NotFound."""
    if not is_uuid(agent_id) or not Agent.objects.filter(pk=agent_id).exists():
        raise no_such("agent", agent_id)
    found = Run.objects.filter(agent_id=UUID(agent_id)).order_by(*NEWEST_FIRST)
    if status is not None:
        found = found.filter(status__in=STATUSES[status])
    return found.none() if scheduled else found


def page_of(runs: QuerySet[Run], start: int, limit: int) -> QuerySet[Run]:
    """`limit` of the runs after the first `start`, which are skipped in the index, however many they are."""
    found = runs.values("pk")[start : start + limit]
    return Run.objects.filter(pk__in=found).only(*SHOWN).order_by(*NEWEST_FIRST)


def detail(agent_id: str, run_id: str) -> Run:
    """What is shown of a run. Raises NotFound."""
    return Run.objects.only(*SHOWN, "resumable_until").get(pk=lifecycle.find(agent_id, run_id).pk)

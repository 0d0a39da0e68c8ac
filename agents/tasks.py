"""What Celery runs. A task carries an id and calls one verb."""

from uuid import UUID

from celery import shared_task

from agents.loop import executor


@shared_task(name="agents.execute_run")
def execute_run(run_id: str) -> None:
    executor.execute(UUID(run_id))

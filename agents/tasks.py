"""What Celery runs. A task carries an id and calls one verb."""

from typing import Any
from uuid import UUID

from celery import shared_task
from celery.signals import worker_init

from agents.runs import broker


@shared_task(name=broker.EXECUTE_RUN)
def execute_run(run_id: str) -> None:
    from agents.loop import executor

    executor.execute(UUID(run_id))


@worker_init.connect
def _load_the_loop(**kwargs: Any) -> None:
    """Load LangChain before the first run comes. Other processes, which know this task too, never do."""
    from agents.loop import executor  # noqa: F401

"""What Celery runs. A task carries an id and calls one verb."""

from uuid import UUID

from celery import shared_task

from agents.runs import broker


@shared_task(name=broker.EXECUTE_RUN)
def execute_run(run_id: str) -> None:
    from agents.loop import executor  # LangChain, which other processes that know this task never load

    executor.execute(UUID(run_id))

"""The signals that this app receives. `AgentsConfig.ready` connects them.

What needs LangChain is imported when it is called: only a worker loads it, which takes a second.
"""

from typing import Any
from uuid import UUID

from celery.signals import worker_init, worker_ready, worker_shutdown, worker_shutting_down
from django.apps import AppConfig
from django.db.models.signals import post_migrate

from agents.catalog import agents, native, tool_code
from agents.runs import argument_checks, broker, lifecycle, requeue, worker
from hitl import argument_check, run_stop
from hitl.console import precedents
from hitl.signals import request_closed


def _resume(*, run_id: UUID, **kwargs: Any) -> None:
    with broker.best_effort(run_id):
        requeue.resume(run_id)


def _make_checkpoint_tables(**kwargs: Any) -> None:
    from agents.loop import checkpoints

    checkpoints.make_tables()


def _load_langchain(**kwargs: Any) -> None:
    """Before the first run comes."""
    from agents.loop import executor  # noqa: F401


def connect(app: AppConfig) -> None:
    request_closed.connect(_resume)
    argument_check.register(argument_checks.refused_of_edit)
    run_stop.register(lifecycle.stopping)
    precedents.register(tool_code.source_of)
    post_migrate.connect(_make_checkpoint_tables, sender=app)
    post_migrate.connect(agents.make_installation, sender=app)
    post_migrate.connect(native.install, sender=app)
    worker_init.connect(_load_langchain)
    worker_ready.connect(worker.on_ready)
    worker_shutting_down.connect(worker.on_shutting_down)
    worker_shutdown.connect(worker.on_shutdown)

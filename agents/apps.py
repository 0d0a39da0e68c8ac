from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        from agents.catalog import agents
        from agents.runs import receivers, worker

        post_migrate.connect(_make_checkpoint_tables, sender=self)
        post_migrate.connect(agents.make_installation, sender=self)
        receivers.connect()
        worker.connect()


def _make_checkpoint_tables(**kwargs: Any) -> None:
    """Imported when it is called: no process but a worker needs LangChain, which takes a second to load."""
    from agents.loop import checkpoints

    checkpoints.make_tables()

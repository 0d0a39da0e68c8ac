from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        from agents.catalog import agents as agent_catalog
        from agents.runs import checkpoints, receivers, worker

        post_migrate.connect(checkpoints.make_tables, sender=self)
        post_migrate.connect(agent_catalog.make_installation, sender=self)
        receivers.connect()
        worker.connect()

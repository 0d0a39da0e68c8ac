from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents"
    verbose_name = "Agents"

    def ready(self) -> None:
        from django.conf import settings

        from agents import receivers
        from agents.sandbox import client as sandbox
        from agents.sandbox.limits import Limits

        receivers.connect(self)
        sandbox.configure(Limits(closed=(str(settings.DATA_DIR), str(settings.BASE_DIR))))

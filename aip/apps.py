from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class AipConfig(AppConfig):
    name = "aip"

    def ready(self) -> None:
        from aip import celery, checks  # noqa: F401 - the first is the app of all tasks, the second registers itself
        from aip.core import users

        post_migrate.connect(users.make_users, sender=apps.get_app_config("auth"))

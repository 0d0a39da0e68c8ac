"""The Celery application. Tasks carry ids alone: what has to be done is in the rows."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aip.settings")

app = Celery("aip")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

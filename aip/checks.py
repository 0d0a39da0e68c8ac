"""System checks: a wrong setting stops the start, and says what to do."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def secrets_are_set(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.SECRETS_ARE_SET:
        return []
    return [
        Error(
            "The server has no secrets.",
            hint="Start it with `manage.py up`, which makes them, or set AIP_MASTER_API_KEY and DJANGO_SECRET_KEY.",
            id="aip.E001",
        )
    ]


@register()
def models_can_be_read(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    names = [settings.DEFAULT_MODEL, *settings.MODELS]
    return [
        Error(
            f"'{name}' is not the name of a model.",
            hint="AIP_DEFAULT_MODEL and the entries of AIP_MODELS are written like openai/gpt-4.1.",
            id="aip.E002",
        )
        for name in names
        if not all(name.partition("/"))
    ]


@register()
def model_servers_can_be_read(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"'{url}' is not an address of a model server.",
            hint="OPENAI_BASE_URL and the entries of AIP_MODEL_BASE_URLS begin with http:// or https://.",
            id="aip.E003",
        )
        for url in [settings.OPENAI_BASE_URL, *settings.MODEL_BASE_URLS]
        if urlsplit(url).scheme not in ("http", "https")
    ]

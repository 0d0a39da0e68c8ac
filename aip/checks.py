"""System checks: a wrong setting stops the start, and says what to do."""

import os
import re
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - their name
from django.db import DatabaseError, connections

OURS = ("AIP_", "HITL_")
# Read by others: the published client, its command, and `up` itself.
NOT_SETTINGS = ("AIP_API_KEY", "AIP_API_URL", "AIP_CONFIG_DIR", "AIP_NO_COLOR", "AIP_TIMEOUT", "AIP_TUI_", "AIP_UP_")
HOST = re.compile(r"\*|\.?[^\s/:\[\]*]+|\[[0-9A-Fa-f:.]+\]")


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


@register(Tags.database)
def pools_fit_the_database(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Runs with `migrate`: what one web process, one worker and one sweep may hold together."""
    needed = 3 * settings.DATABASE_POOL_SIZE + settings.CHECKPOINT_POOL_SIZE
    for alias in databases or ():
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT current_setting('max_connections')::int"
                    " - current_setting('superuser_reserved_connections')::int"
                )
                (allowed,) = cursor.fetchone()
        except DatabaseError:
            continue  # `migrate` itself says what is wrong
        if allowed < needed:
            return [
                Error(
                    f"The database allows {allowed} connections; one web process, one worker and one sweep may need "
                    f"{needed}.",
                    hint=f"Set max_connections of PostgreSQL to at least {needed + 10}, and "
                    f"{settings.DATABASE_POOL_SIZE + settings.CHECKPOINT_POOL_SIZE} more for each further process.",
                    id="aip.E004",
                )
            ]
    return []


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
            hint="OPENAI_BASE_URL and the entries of AIP_MODEL_BASE_URLS begin with http:// or https://; "
            "before it may stand a provider, as in anthropic=https://models.example.com.",
            id="aip.E003",
        )
        for url in [settings.OPENAI_BASE_URL, *(url for _, url in settings.MODEL_BASE_URLS)]
        if urlsplit(url).scheme not in ("http", "https")
    ]


@register()
def hosts_can_be_met(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"'{host}' in ALLOWED_HOSTS is not the name of a host.",
            hint="Write names alone, without http://, port or path: aip.example.com, or .example.com for all below it.",
            id="aip.E005",
        )
        for host in settings.ALLOWED_HOSTS
        if not HOST.fullmatch(host)
    ]


@register()
def tracing_is_meant(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.TRACING not in ("", "langsmith"):
        found.append(
            Error(
                f"AIP_TRACING is {settings.TRACING!r}.",
                hint="Set it to langsmith to send every run to LangSmith, or leave it empty.",
                id="aip.E006",
            )
        )
    if settings.UNSET_VARIABLES:
        found.append(
            Warning(
                f"{', '.join(settings.UNSET_VARIABLES)}: set in the environment, and ignored. Tracing would send every "
                "instruction, input and note to a third party.",
                hint="Set AIP_TRACING=langsmith if that is what you want.",
                id="aip.W002",
            )
        )
    return found


@register()
def variables_are_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is set in the environment, and is not a setting of this server.",
            hint=f"Did you mean {similar[0]}?" if similar else "The README's table has them all.",
            id="aip.W001",
        )
        for name in sorted(os.environ)
        if name.startswith(OURS) and name not in settings.KNOWN and not name.startswith(NOT_SETTINGS)
        for similar in [get_close_matches(name, settings.KNOWN, n=1)]
    ]

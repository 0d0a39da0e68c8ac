"""Django's settings. Every value of ours comes from the environment; the README's table explains each."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key
from django.templatetags.static import static
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from aip.launcher import embedded

# Every variable that is read here.
KNOWN: set[str] = set()


def env(name: str, default: str = "") -> str:
    KNOWN.add(name)
    return os.environ.get(name, "").strip() or default


def env_int(name: str, default: int, *, low: int, high: int) -> int:
    text = env(name, str(default))
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be a whole number from {low} to {high}.")
    return int(text)


def env_list(name: str) -> list[str]:
    return [part.strip() for part in env(name).split(",") if part.strip()]


def passwords(*urls: str) -> list[str]:
    """Those within addresses, as they stand there and as they are meant."""
    found = [password for url in urls for password in re.findall(r"://[^/?#]*?:([^/?#]*)@", url)]
    return found + [unquote(password) for password in found]


# LangChain sends every instruction, input and note to LangSmith where one of these is set: not by accident.
TRACING = env("AIP_TRACING")
UNSET_VARIABLES = sorted(
    name for name in os.environ if TRACING != "langsmith" and name.startswith(("LANGSMITH_", "LANGCHAIN_TRACING"))
)
for _name in UNSET_VARIABLES:
    del os.environ[_name]

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env("AIP_DATA_DIR", str(embedded.default_data_dir(BASE_DIR)))).absolute()

# Secrets: from the environment, else from the files that `manage.py up` made. With neither, a random
# key that nobody knows, and `aip.checks` stops the server with a plain message.
SECRET_KEY = env("DJANGO_SECRET_KEY") or embedded.secret(DATA_DIR, "django-secret-key")
MASTER_API_KEY = env("AIP_MASTER_API_KEY") or embedded.secret(DATA_DIR, "master-api-key")
OPERATOR_PASSWORD = env("AIP_OPERATOR_PASSWORD") or embedded.secret(DATA_DIR, "operator-password")
SECRETS_ARE_SET = bool(SECRET_KEY and MASTER_API_KEY)
SECRET_KEY = SECRET_KEY or get_random_secret_key()

DEBUG = False
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
CSRF_FAILURE_VIEW = "aip.core.errors.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = bool(CSRF_TRUSTED_ORIGINS) and all(
    origin.startswith("https://") for origin in CSRF_TRUSTED_ORIGINS
)

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "aip",
    "hitl",
    "agents",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "aip.core.no_store.NoStore",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# The contract fixes which paths end in a slash; a redirect would turn the client's POST into a GET.
APPEND_SLASH = False
ROOT_URLCONF = "aip.urls"
ASGI_APPLICATION = "aip.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database(url: str) -> dict[str, Any]:
    """Django's settings for a `postgresql://` address, read by libpq's own parser."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured("DATABASE_URL must begin with postgresql://")
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as e:
        raise ImproperlyConfigured("DATABASE_URL cannot be read; write postgresql://user:password@host/name") from e
    # A process that was stopped within a transaction must not keep its locks from those who go on, and a
    # connection whose other end is gone without a word must not keep a thread.
    cut_off = f"-c idle_in_transaction_session_timeout={LEASE_SECONDS * 1000}"
    alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": str(parts.pop("dbname", "aip")),
        "USER": str(parts.pop("user", "")),
        "PASSWORD": str(parts.pop("password", "")),
        "HOST": str(parts.pop("host", "")),
        "PORT": str(parts.pop("port", "")),
        # The pool looks at a connection before it gives it out: PostgreSQL may have been started again.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 5,
            **alive,
            **parts,
            "options": f"{cut_off} {parts.get('options', '')}".strip(),
            # A thread takes a connection for as long as its statements run and gives it back. While PostgreSQL is
            # away the pool makes one attempt at a time, each pause twice the last: it gives up with the first who
            # waited, and the next begins anew, rather than wait as long again once PostgreSQL is back.
            "pool": {
                "min_size": 0,
                "max_size": DATABASE_POOL_SIZE,
                "timeout": POOL_SECONDS,
                "reconnect_timeout": POOL_SECONDS,
                "max_idle": 10,
            },
        },
    }


# How long a worker may be silent before its runs are given to others.
LEASE_SECONDS = env_int("AIP_LEASE_SECONDS", 15, low=4, high=3600)
DATABASE_POOL_SIZE = 16
# How long who asks for a connection waits for one.
POOL_SECONDS = 10
# LangGraph's, in a worker, besides Django's.
CHECKPOINT_POOL_SIZE = 8
DATABASE_URL = env("DATABASE_URL") or embedded.database_url(DATA_DIR)
DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env("REDIS_URL") or embedded.redis_url(DATA_DIR)
if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL must begin with redis://, rediss:// or unix://")
CHANNEL_LAYERS = {
    "default": {
        # This layer keeps no group in Redis, so that a wipe deafens nobody.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_connect_timeout": 2}], "prefix": "aip"},
    },
}

# What no line of a log may hold: ours, those of the servers beneath, and the keys of model providers. What is shorter
# is no secret, and would black out words.
SECRETS = sorted(
    {
        secret
        for secret in (
            *(SECRET_KEY, MASTER_API_KEY, OPERATOR_PASSWORD),
            *passwords(DATABASE_URL, REDIS_URL),
            str(DATABASES["default"]["PASSWORD"]),
            *(v.strip() for k, v in os.environ.items() if k.endswith(("_API_KEY", "_SECRET_ACCESS_KEY"))),
        )
        if len(secret) >= 8
    },
    key=len,
    reverse=True,  # one may be a part of another
)

# kombu spells a unix socket in its own way.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Publishing must not hang while Redis is away: the rows remember what has to run.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5, "max_retries": 0}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = env_int("AIP_WORKER_CONCURRENCY", 32, low=1, high=1024)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False

HITL_MAX_TIMEOUT_SECONDS = 31_536_000
HITL_HOLD_SECONDS = env_int("HITL_HOLD_SECONDS", 20, low=0, high=3600)
HITL_DEFAULT_TIMEOUT_SECONDS = env_int("HITL_DEFAULT_TIMEOUT_SECONDS", 300, low=1, high=HITL_MAX_TIMEOUT_SECONDS)

DEFAULT_MODEL = env("AIP_DEFAULT_MODEL", "rehearsal/default")
# How long a run that failed for its model's sake, or at its step limit, can be resumed; 0: not at all.
KEEP_FAILED_HOURS = env_int("AIP_KEEP_FAILED_HOURS", 72, low=0, high=24 * 366)
# Packages that tools may declare, by name; `*` for any.
TOOL_PACKAGES = env_list("AIP_TOOL_PACKAGES")
TOOL_PACKAGES_DIR = DATA_DIR / "tool-packages"
MODELS = env_list("AIP_MODELS")
# Provider and address: "anthropic=https://..." is for that provider's key, an address alone for OpenAI's.
MODEL_BASE_URLS = [
    (found["provider"] or "openai", found["url"])
    for each in env_list("AIP_MODEL_BASE_URLS")
    for found in re.finditer(r"^(?:(?P<provider>[a-z0-9_]+)=)?(?P<url>.*)$", each)
]
MODEL_TIMEOUT_SECONDS = env_int("AIP_MODEL_TIMEOUT_SECONDS", 120, low=1, high=3600)
OPENAI_API_KEY = env("OPENAI_API_KEY")
OPENAI_BASE_URL = env("OPENAI_BASE_URL", "https://api.openai.com/v1")

# The largest request body, in bytes; a larger one is answered 413.
MAX_BODY_SIZE = 8 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_SIZE

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["aip.core.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["aip.core.auth.Permitted"],
    "DEFAULT_PARSER_CLASSES": ["aip.core.parsers.ObjectParser", "aip.core.parsers.CurlParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "aip.core.errors.handle",
    "UNAUTHENTICATED_USER": None,
    # `?format=` would choose a renderer; as any parameter that is not known, it is ignored.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AIP",
    "DESCRIPTION": "Run AI agents that ask a person before they act.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PARSER_WHITELIST": ["aip.core.parsers.ObjectParser", "rest_framework.parsers.MultiPartParser"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "agents.api.openapi.spell_paths",
    ],
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
LOGIN_REDIRECT_URL = "/admin/"
WHITENOISE_USE_FINDERS = True
UNFOLD = {
    "SITE_TITLE": "AIP",
    "SITE_HEADER": "AIP",
    "SITE_SUBHEADER": "Agents ask before they act",
    "SITE_SYMBOL": "front_hand",
    # There is nothing at "/" to show.
    "SITE_URL": None,
    "SIDEBAR": {"navigation": "aip.navigation.navigation"},
    "STYLES": [lambda _request: static("hitl/console.css")],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "aip.core.logs.Redacting", "format": "{asctime} {levelname} {name}: {message}", "style": "{"}
    },
    "filters": {
        "defects": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 500) != 503,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO"},
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        # A client's mistake is in its answer, and not being ready is an answer too; a defect is logged.
        "django.request": {"level": "ERROR", "filters": ["defects"]},
        "daphne": {"level": "WARNING"},
        # While Redis is away it has a traceback each second; the consoles' sockets say so in a line.
        "channels_redis.pubsub": {"level": "CRITICAL"},
        # A wrong host name is the client's mistake; it is answered 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}

"""The users that every installation has."""

from typing import Any

from django.conf import settings

MASTER = "master"
OPERATOR = "operator"


def make_users(**kwargs: Any) -> None:
    """The key's user `master`, who cannot log in, and the first admin user `operator`; both only if missing."""
    from django.contrib.auth.models import User

    if not User.objects.filter(username=MASTER).exists():
        User.objects.create_user(MASTER, is_superuser=True)
    if settings.OPERATOR_PASSWORD and not User.objects.filter(username=OPERATOR).exists():
        User.objects.create_superuser(OPERATOR, password=settings.OPERATOR_PASSWORD)

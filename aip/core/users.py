"""The users that every installation has."""

from typing import Any

from django.conf import settings

MASTER = "master"
OPERATOR = "operator"


def make_users(**kwargs: Any) -> None:
    """The key's user `master`, who cannot log in, if missing; and `operator`, who can, while no administrator is there.

    Each start migrates: an `operator` who was deleted or renamed must not come back with the first password.
    """
    from django.contrib.auth.models import User

    if not User.objects.filter(username=MASTER).exists():
        User.objects.create_user(MASTER, is_superuser=True)
    administrators = User.objects.filter(is_superuser=True, is_staff=True).exclude(username=MASTER)
    known = administrators.exists() or User.objects.filter(username=OPERATOR).exists()
    if settings.OPERATOR_PASSWORD and not known:
        User.objects.create_superuser(OPERATOR, password=settings.OPERATOR_PASSWORD)

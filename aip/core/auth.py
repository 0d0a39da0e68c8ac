"""The API key is a Django user; what it may do is said by Django's permissions."""

import hmac
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aip.core.users import MASTER

if TYPE_CHECKING:  # DRF's views import this module
    from rest_framework.views import APIView

NO_KEY = "Send your API key in the header X-API-Key."


def user_of(key: str) -> User:
    """The user that an API key acts as. Raises AuthenticationFailed."""
    if not key:
        raise AuthenticationFailed(NO_KEY)
    if not settings.MASTER_API_KEY or not hmac.compare_digest(key.encode(), settings.MASTER_API_KEY.encode()):
        raise AuthenticationFailed("This API key is not valid.")
    user = User.objects.filter(username=MASTER).first()
    if user is None:
        raise AuthenticationFailed("The key's user 'master' was deleted; `manage.py migrate` makes it again.")
    if not user.is_active:
        raise AuthenticationFailed("The key's user 'master' is switched off; tick 'Active' on its page in the admin.")
    return user


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, None]:
        return user_of(request.headers.get("X-API-Key", "")), None

    def authenticate_header(self, request: Request) -> str:
        return "X-API-Key"


class Permitted(BasePermission):
    """The view names the permission of each method; a method without one is refused."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        needed: dict[str, str] = getattr(view, "permissions", {})
        if request.method == "OPTIONS" or request.method not in view.allowed_methods:
            return True  # the first tells no data, the second will be answered 405
        method = "GET" if request.method == "HEAD" else request.method
        return method in needed and request.user.has_perm(needed[method])

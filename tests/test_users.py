"""The users that every installation has, and what becomes of them."""

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from aip.core.users import MASTER, OPERATOR, make_users

pytestmark = pytest.mark.django_db


def names() -> set[str]:
    make_users()
    return set(User.objects.values_list("username", flat=True))


def test_the_first_start_makes_both_users() -> None:
    User.objects.all().delete()
    assert names() == {MASTER, OPERATOR}
    assert User.objects.get(username=OPERATOR).check_password(settings.OPERATOR_PASSWORD)


def test_an_operator_who_was_deleted_or_renamed_does_not_come_back_while_there_is_another_administrator() -> None:
    User.objects.filter(username=OPERATOR).update(username="olga")
    assert names() == {MASTER, "olga"}
    User.objects.create_superuser("oscar")
    User.objects.get(username="olga").delete()
    assert names() == {MASTER, "oscar"}


def test_the_operator_comes_back_when_nobody_is_left_who_could_make_users() -> None:
    User.objects.filter(username=OPERATOR).delete()
    User.objects.create_user("olga", is_staff=True)
    assert names() == {MASTER, OPERATOR, "olga"}


def test_an_operator_who_is_no_administrator_any_more_breaks_no_start() -> None:
    User.objects.filter(username=OPERATOR).update(is_superuser=False)
    assert names() == {MASTER, OPERATOR}


def test_a_key_whose_user_is_gone_or_switched_off_says_how_to_bring_it_back() -> None:
    client = Client(headers={"X-API-Key": settings.MASTER_API_KEY})
    User.objects.filter(username=MASTER).update(is_active=False)
    answer = client.get("/agents/")
    assert answer.status_code == 401
    assert "switched off" in answer.json()["message"]
    User.objects.filter(username=MASTER).delete()
    assert "`manage.py migrate` makes it again" in client.get("/agents/").json()["message"]
    make_users()
    assert client.get("/agents/").status_code == 200

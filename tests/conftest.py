"""Real servers for everybody: PostgreSQL and Valkey for the unit tests, a whole `up` for the rest."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User

from aip.launcher import embedded
from tests import listener, live, model_server

# They need the published client's environment: test_client.py runs them there.
collect_ignore = ["client"]


@pytest.fixture(scope="session")
def servers() -> Iterator[None]:
    with embedded.running(settings.DATA_DIR):
        yield


@pytest.fixture(scope="session")
def django_db_setup(servers: None, django_db_setup: None) -> Iterator[None]:
    """pytest-django's, over the embedded server; the checkpoints' pool lets go before the database is dropped."""
    from agents.loop import checkpoints

    pool = checkpoints._pool()  # now: a test that counts threads must not see it start its own
    yield
    pool.close()


@pytest.fixture(autouse=True)
def account() -> None:
    """Each test has one of its own; a server keeps its one."""
    from agents.catalog import agents as agent_catalog

    agent_catalog.account_id.cache_clear()


@pytest.fixture
def alice(db: None) -> User:
    """May decide."""
    user = User.objects.create_user("alice", password="alice")
    user.user_permissions.add(*Permission.objects.filter(codename__in=["decide_approvalrequest"]))
    return user


@pytest.fixture
def bob(db: None) -> User:
    """May decide as well."""
    user = User.objects.create_user("bob", password="bob")
    user.user_permissions.add(*Permission.objects.filter(codename__in=["decide_approvalrequest"]))
    return user


@pytest.fixture(scope="session")
def models() -> Iterator[model_server.ModelServer]:
    with model_server.serving() as server:
        yield server


@pytest.fixture(scope="session")
def world() -> Iterator[listener.Listener]:
    with listener.listening() as server:
        yield server


@pytest.fixture(scope="session")
def server(models: model_server.ModelServer) -> Iterator[live.Live]:
    """A whole running server, shared by the suite: each test brings agents of its own."""
    with live.running_for_all(models.url) as running:
        yield running


@pytest.fixture(scope="session")
def fragile() -> Iterator[live.Live]:
    """A whole running server whose parts the tests may kill; it holds and leases for short times."""
    with live.running(HITL_HOLD_SECONDS="1", AIP_LEASE_SECONDS="5") as running:
        yield running


@pytest.fixture(scope="session")
def reporter(server: live.Live) -> dict[str, Any]:
    return server.upload("reporter.py", name="reporter")


def in_threads(number: int, work: Any) -> list[Any]:
    """What `work(i)` gives in `number` threads that all begin at the same moment; raises what one of them raised."""
    barrier = threading.Barrier(number)

    def one(i: int) -> Any:
        barrier.wait(30)
        return work(i)

    with ThreadPoolExecutor(number) as executor:
        return [future.result(60) for future in [executor.submit(one, i) for i in range(number)]]

"""What stops a start, and says what to do."""

from typing import Any

import pytest

from aip import checks


@pytest.mark.django_db
def test_pools_that_do_not_fit_the_database_stop_the_migration(settings: Any) -> None:
    assert checks.pools_fit_the_database(None, databases=["default"]) == []
    settings.DATABASE_POOL_SIZE = 1000
    (error,) = checks.pools_fit_the_database(None, databases=["default"])
    assert error.id == "aip.E004"
    assert "may need 3008" in error.msg
    assert "Set max_connections of PostgreSQL to at least 3018" in str(error.hint)
    assert checks.pools_fit_the_database(None) == []

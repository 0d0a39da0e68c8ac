"""The limit of bodies stands on names of Daphne and Twisted. That it works is shown in test_bad_input."""

from typing import Any

import pytest

from aip import body_limit


@pytest.mark.parametrize(("owner", "name"), body_limit.REPLACED)
def test_a_server_whose_libraries_lack_what_the_limit_replaces_does_not_start(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(AttributeError, match=name):
        body_limit.bound_daphne()

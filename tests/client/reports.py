"""A pytest plugin of the client's session: tells the session that started it what became of each test, as it goes on.

One line of JSON for each, a test with parameters counted once: `{"test": "file.py::name", "failures": [text, ...]}`.
"""

import json
import os
from collections.abc import Generator

import pytest

_reports = os.fdopen(int(os.environ["AIP_TEST_REPORTS"]), "w", buffering=1)
_failures: list[str] = []


def name(item: pytest.Function) -> str:
    return f"{item.path.name}::{item.originalname}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that is skipped has not shown what it is for, either."""
    if not report.passed:
        captured = [f"--- {title}\n{text}" for title, text in report.sections]
        _failures.append(
            "\n".join([f"{report.nodeid}, {report.when}: {report.outcome}", report.longreprtext, *captured])
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Function, nextitem: pytest.Function | None) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        if nextitem is None or name(nextitem) != name(item):
            print(json.dumps({"test": name(item), "failures": _failures}), file=_reports)
            _failures.clear()

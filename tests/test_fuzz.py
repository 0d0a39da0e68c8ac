"""A short and always the same part of what `python -m tests.fuzz` does."""

from tests.fuzz import fuzz
from tests.live import Live


def test_whatever_is_sent_only_what_is_described_is_answered(server: Live) -> None:
    (began,) = server.rows("SELECT now()")
    try:
        options = ("--phases", "coverage,fuzzing,stateful", "--max-examples", "5", "--seed", "1")
        found = fuzz(server, *options, "--generation-database", "none", timeout=150)
    finally:
        server.write("UPDATE agents_agent SET deleted_at = now() WHERE deleted_at IS NULL AND created_at > %s", *began)
    assert found.returncode == 0, f"{found.stdout[-20_000:]}\n{found.stderr}"
    assert "Tested: 0" not in found.stdout

"""Programs that measure a running server. Never part of the test run."""

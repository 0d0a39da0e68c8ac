"""No line of the log holds a secret of the server."""

import os
import subprocess
import sys

from tests.live import CHECKOUT

SECRETS = {
    "AIP_MASTER_API_KEY": "the-master-key",
    "AIP_OPERATOR_PASSWORD": "the-operators-password",
    "DJANGO_SECRET_KEY": "the-key-of-sessions",
    "DATABASE_URL": "postgresql://aip:the%2Fdatabases-password@localhost/aip",
    "REDIS_URL": "redis://:the%2Fqueues-password@localhost:6379/0",
    "OPENAI_API_KEY": "sk-the-models-key",
    "AWS_SECRET_ACCESS_KEY": "the-key-of-the-cloud",
    "GROQ_API_KEY": "short",
}
LOG = """
import logging, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "aip.settings"
import django
django.setup()
logging.getLogger("test").error(sys.argv[1])
"""


def test_secrets_are_struck_out_of_lines_and_short_values_are_not() -> None:
    meant = ["the/databases-password", "the/queues-password"]
    said = subprocess.run(
        [sys.executable, "-c", LOG, " ; ".join([*SECRETS.values(), *meant])],
        cwd=CHECKOUT,
        env={"PATH": os.defpath, "AIP_DATA_DIR": "/nonexistent", **SECRETS},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = said.stderr.splitlines()
    assert line.split("test: ")[1].split(" ; ") == [
        *["***"] * 3,
        "postgresql://aip:***@localhost/aip",
        "redis://:***@localhost:6379/0",
        *["***"] * 2,
        "short",
        *["***"] * 2,
    ]

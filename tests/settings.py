"""The server's own settings, over servers that the suite starts for itself in a directory of its own."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from aip.launcher import data_dir

# Not pytest's own temporary directory: as root PostgreSQL's user has to pass through it.
os.environ["AIP_DATA_DIR"] = tempfile.mkdtemp(prefix="aip-test-", dir="/tmp")
atexit.register(shutil.rmtree, os.environ["AIP_DATA_DIR"])
Path(os.environ["AIP_DATA_DIR"]).chmod(0o711)
for name in ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "AIP_MASTER_API_KEY"):
    os.environ.pop(name, None)
os.environ["AIP_MODEL_BASE_URLS"] = "https://models.example.com/v1"
os.environ["AIP_MODELS"] = "openai/gpt-4.1"
data_dir.make_secrets(Path(os.environ["AIP_DATA_DIR"]))

from aip.settings import *  # noqa: E402, F403 - only now can they find the secrets

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

"""The caller's secrets, which Ray's processes inherit only if a trial needs them."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

SECRET = re.compile("KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
"""Names of environment variables that may hold a secret."""
NEEDED = re.compile("^RAY_")
OF_STORAGE = {"s3": "AWS_", "gs": "GOOGLE_", "gcs": "GOOGLE_", "abfs": "AZURE_", "abfss": "AZURE_", "az": "AZURE_"}
"""Prefix of the variables with which workers reach a storage, by the scheme of its address."""


@contextmanager
def secrets_kept(storage: str | None) -> Iterator[None]:
    """Hide the caller's secrets from processes that start in the block, except those of the storage."""
    hidden = {name: os.environ.pop(name) for name in secrets(os.environ, storage)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def secrets(environment: Mapping[str, str], storage: str | None) -> list[str]:
    """Return the names of the variables that a trial with that storage must not see."""
    prefix = OF_STORAGE.get((storage or "").partition("://")[0])
    return [
        name
        for name in environment
        if SECRET.search(name) and not NEEDED.search(name) and not (prefix and name.startswith(prefix))
    ]

"""Give each test an empty cache, and clear what the test before kept in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.data import sources


@pytest.fixture
def cache(folder: Path) -> Path:
    return folder / "cache"


@pytest.fixture(autouse=True)
def forget() -> None:
    sources._load.cache_clear()

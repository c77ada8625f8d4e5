"""Files and folders that are written whole or not at all, locks, and hashes of files."""

from __future__ import annotations

import json
import os
from pathlib import Path

UNFINISHED = ".unfinished-"


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{UNFINISHED}{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file whole or not at all."""
    write_file(path, json.dumps(document, indent=2, allow_nan=False) + "\n")

"""A small JSON posted to a person's own address when a sweep ends."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

SECONDS = 10.0


def notify(webhook: str, summary: dict[str, Any], where: str) -> str | None:
    """Post name, state, best, cost and folder to `webhook`; the reason where that fails, else None."""
    best = summary["best"] and {key: summary["best"][key] for key in ("trial", "value", "stderr", "kimg", "params")}
    document = {**{key: summary[key] for key in ("name", "state", "cost")}, "best": best, "where": where}
    asked = urllib.request.Request(  # noqa: S310 (the configuration allows http and https alone)
        webhook, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(asked, timeout=SECONDS).close()  # noqa: S310
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None

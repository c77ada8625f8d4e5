"""Post a small JSON document to the user's webhook when a sweep ends."""

import json
import threading
import urllib.request
from http.client import HTTPException

from tune_app.answer.summary import Summary

TIMEOUT_SECONDS = 10.0
BEST_FIELDS = ("trial", "value", "stderr", "kimg", "params")


def post_summary(webhook: str, summary: Summary) -> str | None:
    """Post name, state, cost, best trial and folder to `webhook`. Return the error, or None if it worked."""
    best = summary.best and {name: getattr(summary.best, name) for name in BEST_FIELDS}
    document = {
        "name": summary.name,
        "state": summary.state,
        "cost": summary.cost,
        "best": best,
        "where": summary.experiment,
    }
    request = urllib.request.Request(  # noqa: S310 (the configuration allows only http and https)
        webhook, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    outcome = [f"no answer within {TIMEOUT_SECONDS:g} s"]
    # in a thread, because the timeout of a socket starts anew with each byte of the answer
    thread = threading.Thread(target=_post, args=(request, outcome), daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    return outcome[-1] or None


def _post(request: urllib.request.Request, outcome: list[str]) -> None:
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()  # noqa: S310
        outcome.append("")
    except (OSError, ValueError, HTTPException) as error:
        outcome.append(str(getattr(error, "reason", error)))

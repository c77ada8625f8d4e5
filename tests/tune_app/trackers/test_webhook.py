"""The webhook at the end of a sweep."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tune_app.trackers import webhook as module
from tune_app.trackers.webhook import notify

BEST = {"trial": "0003", "value": 0.5, "stderr": None, "kimg": 9.0, "params": {"x": 1}, "metrics": {}, "pictures": {}}
SUMMARY = {"name": "night", "state": "completed", "cost": {"hours": 1.0}, "best": BEST, "trials": {"completed": 4}}


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server on loopback, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


def test_a_small_json_is_posted(inbox: tuple[str, list[dict[str, Any]]]) -> None:
    address, posted = inbox
    assert notify(f"{address}/hook", SUMMARY, "/data/night") is None
    best = {"trial": "0003", "value": 0.5, "stderr": None, "kimg": 9.0, "params": {"x": 1}}
    assert posted == [
        {"name": "night", "state": "completed", "cost": {"hours": 1.0}, "best": best, "where": "/data/night"}
    ]


def test_a_sweep_without_a_best_trial_is_told_as_well(inbox: tuple[str, list[dict[str, Any]]]) -> None:
    assert notify(inbox[0], {**SUMMARY, "best": None, "state": "failed"}, "/data/night") is None
    assert inbox[1][0]["best"] is None


def test_an_address_that_refuses_or_is_not_there_is_a_reason_and_no_error(
    inbox: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 1.0)
    assert notify(f"{inbox[0]}/broken", SUMMARY, "x") == "Internal Server Error"
    assert "refused" in str(notify("http://127.0.0.1:1/", SUMMARY, "x"))

"""The webhook at the end of a sweep."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.events import asked, ended, reported, started
from tune_app.answer.summary import Summary, summarise
from tune_app.config.load import load
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records
from tune_app.trackers import webhook as module
from tune_app.trackers.webhook import post_summary

PARAMS = {"x1": 1.0, "x2": 2.0}
EVENTS = [started(), asked("0000", **PARAMS), reported("0000", 27.0, "stop", value=0.5), ended("0000", kimg=27.0)]


def summary(events: list[Event]) -> Summary:
    return summarise(Experiment(Path("/data/night")), load("branin_space.yaml"), Records(events), events)


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return the address of a server on loopback, and the documents posted to it."""
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
    assert post_summary(f"{address}/hook", summary(EVENTS)) is None
    (document,) = posted
    assert document["best"] == {"trial": "0000", "value": 0.5, "stderr": None, "kimg": 27.0, "params": PARAMS}
    assert (document["name"], document["state"], document["where"]) == ("branin", "interrupted", "/data/night")
    assert document["cost"]["kimg"] == 27.0


def test_a_sweep_without_a_best_trial_is_posted_too(inbox: tuple[str, list[dict[str, Any]]]) -> None:
    assert post_summary(inbox[0], summary(EVENTS[:2])) is None
    assert inbox[1][0]["best"] is None


def test_an_address_that_fails_is_returned_as_the_reason(
    inbox: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 1.0)
    assert post_summary(f"{inbox[0]}/broken", summary(EVENTS)) == "Internal Server Error"
    assert "refused" in str(post_summary("http://127.0.0.1:1/", summary(EVENTS)))


def test_a_server_that_drips_its_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                for _ in range(100):
                    connection.sendall(b"H")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        error = post_summary(f"http://127.0.0.1:{server.getsockname()[1]}", summary(EVENTS))
    assert error == "no answer within 0.5 s"
    assert time.monotonic() - began < 3

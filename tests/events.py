"""Builders of events, with defaults for the fields that a test does not need."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from tune_app.experiment.events import Event, parse_event

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(when: float, kind: str, /, **fields: Any) -> Event:
    """Return an event `when` seconds after BEGAN."""
    return parse_event({"event": kind, "time": (BEGAN + timedelta(seconds=when)).isoformat(), **fields})


def started(when: float = 0, /, **fields: Any) -> Event:
    return at(when, "sweep_started", name="night", seed=0, **fields)


def resumed(when: float = 0, /, **fields: Any) -> Event:
    return at(when, "sweep_resumed", name="night", seed=0, **fields)


def asked(trial: str, source: str = "sampler", *, when: float = 0, **params: Any) -> Event:
    return at(when, "asked", trial=trial, params=params, source=source)


def reported(trial: str, kimg: float, decision: str = "continue", *, rung: bool = True, **metrics: Any) -> Event:
    return at(0, "reported", trial=trial, kimg=kimg, seconds=2.0, rung=rung, metrics=metrics, decision=decision)


def ended(trial: str, state: str = "completed", reason: str = "max_kimg", kimg: float = 0) -> Event:
    return at(0, "ended", trial=trial, state=state, reason=reason, kimg=kimg, metrics={})


def changed(event: Event, **fields: Any) -> Event:
    """Return the event with some fields replaced."""
    return parse_event({**event.as_json(), **fields})

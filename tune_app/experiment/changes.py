"""What a person may change of a sweep that has begun, and how a refused change is shown."""

from __future__ import annotations

from typing import Any

from tune_app.config.schema import SweepConfig
from tune_app.errors import ConfigError, Problem

MAY_CHANGE = ("search.trials", "budget", "resources", "failures", "recheck", "wandb", "notify")
"""How long, on what and watched by whom; all else decides what the trials' numbers mean."""

Changes = dict[str, tuple[Any, Any]]


def accepted(before: SweepConfig, after: SweepConfig) -> Changes:
    """Each key that differs, with both values. Raises ConfigError with a line for each that may not change."""
    found = _differences(before.model_dump(mode="json"), after.model_dump(mode="json"))
    refused = [key for key in found if not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)]
    if refused:
        problems = [Problem(key, f"the experiment began with {_said(found[key][0])}, now it is {_said(found[key][1])}")
                    for key in refused]  # fmt: skip
        last = problems.pop()
        hint = f"start a new experiment for that; of one that has begun you may change {', '.join(MAY_CHANGE)}"
        raise ConfigError(*problems, Problem(last.where, last.message, hint))
    return found


def _differences(before: Any, after: Any, key: str = "") -> Changes:
    if isinstance(before, dict) and isinstance(after, dict):
        found: Changes = {}
        for name in [*before, *(name for name in after if name not in before)]:
            path = f"{key}.{name}" if key else name
            found.update(_differences(before.get(name), after.get(name), path))
        return found
    return {} if before == after and type(before) is type(after) else {key: (before, after)}


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)

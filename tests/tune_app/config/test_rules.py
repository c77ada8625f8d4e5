"""A user's model may refuse combinations of parameters, in the search and in baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trainables.catalog import MODELS, Contents
from trainables.contract import Plugin
from trainables.model import Complaint, Metric, Model, Parameter, Reach
from tune_app.config.load import load
from tune_app.errors import ConfigError

SPACE = """version: 1
name: rules
model: mine
parameters:
  a: {type: float, low: 1, high: 4}
fixed: {b: 5}
baselines: [{a: 2}, {b: 3}]
"""


def a_below_b(reach: Reach) -> Iterator[Complaint]:
    if reach.extremes("a")[1] >= reach.extremes("b")[0]:
        yield Complaint(("a", "b"), "a must stay below b", "lower a")


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"a": Parameter(1.0, "", low=0, high=9), "b": Parameter(9.0, "", low=0, high=9)}
    model = Model(parameters, {"value": Metric("")}, uses_images=False, rules=a_below_b)
    monkeypatch.setattr(MODELS, "_added", {"m.py": Contents(Plugin("m.py", "0"), {"mine": model}, {})})


def test_a_combination_is_refused_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    with pytest.raises(ConfigError) as refused:
        load(path)
    (problem,) = refused.value.problems
    assert (problem.where, problem.message, problem.hint) == (
        f"{path}:7:22",
        "baselines.1.b: a must stay below b",
        "lower a",
    )
    path.write_text(SPACE.replace("{b: 3}", "{b: 4.5}"))
    assert load(path).model == "mine"
    path.write_text(SPACE.replace("{b: 5}", "{b: 2}").replace("[{a: 2}, {b: 3}]", "[]"))
    with pytest.raises(ConfigError, match=r"parameters\.a: a must stay below b"):
        load(path)


def test_a_rule_that_fails_is_a_sentence_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"mine": replace(MODELS["mine"], rules=lambda reach: [1 / 0])}
    monkeypatch.setattr(MODELS, "_added", {"m.py": Contents(Plugin("m.py", "0"), broken, {})})
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    with pytest.raises(ConfigError, match=r"space\.yaml:3:1: .*the rules of the model fail: m\.py: ZeroDivisionError"):
        load(path)

"""The probe of a setting finds the seconds that its training and its evaluations are known to take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.trainables.tiny import tiny_run, tiny_spec
from trainables import trial
from trainables.catalog import MODELS
from trainables.contract import Plugin, RunSpec
from trainables.probe import probe

SLEEPER = """
import time
from types import SimpleNamespace
from trainables.plugin import Evaluation, Metric, Model, Parameter

class Sleeper:
    # 20 ms for a kimg; 30 ms for an evaluation, and for each sample 0.05 ms and 0.2 ms for a network evaluation
    def __init__(self, spec):
        self.spec = spec
        self.model = SimpleNamespace(settled=lambda setting, nfe: {**setting, "nfe": nfe * setting["part"]})
    def train(self, images):
        time.sleep(20e-6 * images)
        return {"loss": 0.0}
    def evaluate(self, *, final, sample_metrics=None, spec=None):
        settings = spec.final_sampling if final else spec.sampling
        samples = spec.final_samples if final else spec.samples
        used = [self.model.settled(setting, spec.nfe)["nfe"] for setting in settings]
        time.sleep(0.03 + sum(samples * (50e-6 + 200e-6 * count) for count in used))
        return Evaluation({"height": 0.0, "nfe": used[0]}, pictures={"samples": b"12345"})
    def state(self): return {}
    def load_state(self, state): pass

MODELS = {"sleeper": Model(
    run=Sleeper, uses_images=False, metrics={"height": Metric("height")}, parameters={"x": Parameter(0.5, "place")},
)}
"""


CHECKPOINT = 0.1
"""Seconds that a checkpoint takes at most."""


def test_a_model_without_images_trains_from_one_report_to_the_next() -> None:
    params = {"x1": 1.0, "x2": 1.0, "bias": 0.0, "step_seconds": 0.03}
    cost = probe(RunSpec("branin", params, seed=0), report_kimg=2, sample_metrics=None, again=None, seconds=0.2)
    assert 0.03 / 2 <= cost.kimg < 0.03 / 2 + CHECKPOINT / 2, "one call of train, whatever the number of images"
    assert (cost.recheck, cost.picture_bytes) == (0.0, 0)
    assert cost.checkpoint_bytes > 0


def test_evaluations_are_extrapolated_from_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_added", {})
    plugin = Plugin("sleeper.py", sha256(SLEEPER.encode()).hexdigest(), source=SLEEPER)
    whole, half = {"part": 1.0}, {"part": 0.5}
    spec = RunSpec(
        "sleeper", {"x": 0.5}, seed=0, samples=100, final_samples=300, nfe=50, sampling=(whole,),
        final_sampling=(whole, half), plugins=(plugin,),
    )  # fmt: skip
    again = {"draws": 2, "samples": 400, "nfe": 100}
    cost = probe(spec, report_kimg=1, sample_metrics=None, again=again, seconds=1.0)
    assert 0.02 <= cost.kimg < 0.02 + CHECKPOINT
    assert cost.rung == pytest.approx(0.03 + 100 * (50e-6 + 50 * 200e-6), rel=0.25)
    assert cost.final == pytest.approx(0.03 + 300 * (2 * 50e-6 + 75 * 200e-6), rel=0.25)
    pilot = 0.03 + 100 * (2 * 50e-6 + 150 * 200e-6)
    full, same = 0.03 + 400 * (50e-6 + 75 * 200e-6), 0.03 + 300 * (50e-6 + 37.5 * 200e-6)
    assert cost.recheck == pytest.approx(pilot + 2 * (full + same), rel=0.25)
    assert cost.picture_bytes == 5


@pytest.mark.parametrize("kind", ["ncsn", "beta_vae"])
def test_the_evaluations_of_an_image_model_are_measured_in_proportion_to_its_training(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(trial, "build", lambda spec: tiny_run(kind))
    spec = replace(tiny_spec(kind), samples=128, nfe=40)
    cost = probe(spec, report_kimg=1000, sample_metrics=None, again=None, seconds=1.0)
    run = tiny_run(kind)
    run.train(100)
    run.evaluate(final=False, spec=spec)
    trained = _cpu_seconds(lambda: run.train(800)) / 0.8
    evaluated = _cpu_seconds(lambda: run.evaluate(final=False, spec=spec))
    # other work on the machine slows both down, so compare their proportion
    assert cost.rung / cost.kimg == pytest.approx(evaluated / trained, rel=0.5)
    assert cost.kimg > 0.5 * trained


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began

"""The Tune wrapper: a used actor gives the same numbers as a fresh one, and a trial parks on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainables import checkpoint, evaluation, sample_metrics
from trainables.catalog import MODELS
from trainables.contract import DataSpec, RunSpec
from trainables.data import load
from trainables.metrics import cnn, disentanglement
from trainables.ray_worker import RayWorker, recheck
from trainables.sample_metrics import build_sample_metrics
from trainables.trial import Trial, fresh_seed

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, on building a Trainable


@pytest.fixture(autouse=True)
def small_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow few trees and judge few images. Nothing here is about their values."""
    monkeypatch.setattr(disentanglement, "TREES", 2)
    monkeypatch.setattr(evaluation, "JUDGED_IMAGES", 128)


def config(model: str, seed: int, folder: Path) -> dict[str, Any]:
    known = MODELS[model].parameters
    tiny = {"width": 8, "batch_size": 32, "num_scales": 4, "groups": 4, "latent_dim": 4}
    params = {name: tiny.get(name, item.default) for name, item in known.items() if item.stage == "training"}
    sampling = {name: item.default for name, item in known.items() if item.stage == "sampling"}
    spec = RunSpec(
        model=model, params=params, seed=seed, data=DataSpec("shapes", 16), samples=16, final_samples=16, nfe=4,
        sampling=(sampling,), final_sampling=(sampling,),
    )  # fmt: skip
    marks = {"rungs": [0.064, 0.128], "report_kimg": 0.064, "checkpoint_kimg": None}
    places = {"folder": str(folder), "checkpoints": [], "sample_metrics": None, "park_file": str(folder / "park")}
    return {"trial": "0000", "spec": spec, "threads": 1, **marks, **places}


def numbers(trainable: RayWorker) -> list[dict[str, float]]:
    reports = [trainable.step()["report"].metrics for _ in range(2)]
    return [{name: value for name, value in report.items() if not name.endswith("seconds")} for report in reports]


@pytest.mark.parametrize("model", ["ncsn", "beta_vae"])
def test_a_trial_gives_the_same_numbers_in_a_fresh_and_in_a_used_actor(model: str, tmp_path: Path) -> None:
    fresh = numbers(RayWorker(config(model, 1, tmp_path)))
    used = RayWorker(config("beta_vae" if model == "ncsn" else "ncsn", 7, tmp_path))
    numbers(used)
    assert used.reset_config(config(model, 1, tmp_path))
    assert numbers(used) == fresh
    assert {"kid", "kid_stderr", "loss", "train_loss"} <= fresh[-1].keys()


def test_a_trial_parks_with_a_checkpoint_at_its_next_report(tmp_path: Path) -> None:
    trainable = RayWorker({**config("beta_vae", 1, tmp_path), "checkpoint_kimg": 1.0})
    first = trainable.step()
    assert not first["parked"]
    (tmp_path / "park").touch()
    result = trainable.step()
    assert result["parked"]
    assert checkpoint.is_complete(tmp_path / result["checkpoint"])
    assert trainable.step() == {"parked": True}


@pytest.mark.parametrize("damage", [False, True])
def test_a_trial_continues_from_the_newest_whole_checkpoint_to_the_same_numbers(damage: bool, tmp_path: Path) -> None:
    given = {**config("beta_vae", 1, tmp_path), "rungs": [0.192], "report_kimg": 0.064}
    unbroken = RayWorker(given)
    results = [unbroken.step() for _ in range(3)]
    folders = [tmp_path / result["checkpoint"] for result in results]
    if damage:
        (folders[1] / "state.pt").write_bytes(b"half a checkpoint")
    resumed = RayWorker({**given, "checkpoints": [str(folders[1]), str(folders[0])]})
    assert resumed.trial
    assert resumed.trial.images == (64 if damage else 128)
    while not (last := resumed.step())["report"].rung:
        pass
    expected = results[2]["report"].metrics
    for name in (name for name in expected if not name.endswith("seconds")):
        assert last["report"].metrics[name] == expected[name]


@pytest.mark.parametrize(("least", "written"), [(None, 6), (0.03, 3), (0.04, 2), (1.0, 2)])
def test_checkpoints_are_at_rungs_and_at_least_checkpoint_kimg_apart(
    least: float | None, written: int, tmp_path: Path
) -> None:
    spec = RunSpec("branin", {"x1": 0.0, "x2": 0.0, "bias": 0.0, "step_seconds": 0.0}, seed=1, max_kimg=0.06)
    given = {**config("ncsn", 1, tmp_path), "spec": spec, "rungs": [0.04, 0.06], "report_kimg": 0.01}
    trainable = RayWorker({**given, "checkpoint_kimg": least})
    assert sum(trainable.step()["checkpoint"] is not None for _ in range(6)) == written


def test_the_re_evaluation_compares_with_other_images_and_draws_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "IMAGES", 300)
    monkeypatch.setattr(sample_metrics, "CORRUPTED_IMAGES", 100)
    spec = config("beta_vae", 1, tmp_path)["spec"]
    measure = build_sample_metrics(load(spec.data), "randconv")
    trial = Trial(spec, rungs=[spec.max_kimg], report_kimg=spec.max_kimg, sample_metrics=measure)
    trial.advance()
    again = trial.recheck(own=0, draws=2, samples=16, nfe=4)
    first, second = again.draws
    assert first["kid"] != second["kid"]
    seed = fresh_seed(spec.seed, "draw 0")
    drawn, own = replace(spec, seed=seed, common_seed=seed), spec
    for part, used, holds in ((measure.fresh, drawn, True), (measure, drawn, False), (measure.fresh, own, False)):
        found = trial.run.evaluate(final=True, sample_metrics=part, spec=used).metrics
        assert (found["kid"] == first["kid"]) == holds
        assert (found["bpd"] == first["bpd"]) == holds
    errors = again.errors["kid"]
    groups = errors["without_group"]
    assert isinstance(groups, list)
    assert sum(groups) / len(groups) == pytest.approx((first["kid"] + second["kid"]) / 2, rel=0.01)
    assert 0 < float(errors["samples"]) < first["kid_stderr"]  # type: ignore[arg-type]


def test_an_older_checkpoint_than_the_last_is_not_evaluated_again(tmp_path: Path) -> None:
    spec = replace(config("beta_vae", 1, tmp_path)["spec"], max_kimg=0.128)
    trainable = RayWorker({**config("beta_vae", 1, tmp_path), "spec": spec})
    first, last = (str(tmp_path / trainable.step()["checkpoint"]) for _ in range(2))
    plan = {"own": 0, "draws": 1, "samples": 16, "nfe": 4}
    assert recheck(spec, [first], None, 1, plan) == "its newest complete checkpoint is at 0.064 kimg, not at 0.128 kimg"
    assert recheck(spec, [], None, 1, plan) == "none of its checkpoints is complete"
    evaluated = recheck(spec, [last, first], None, 1, plan)
    assert not isinstance(evaluated, str)
    assert evaluated.kimg == 0.128


def test_on_a_gpu_a_checkpoint_is_written_at_rungs_and_after_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("trainables.ray_worker.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("trainables.ray_worker._has_gpu", lambda: True)
    spec = RunSpec("branin", {"x1": 0.0, "x2": 0.0, "bias": 0.0, "step_seconds": 0.0}, seed=1, max_kimg=0.06)
    given = {**config("ncsn", 1, tmp_path), "spec": spec, "rungs": [0.02, 0.06], "report_kimg": 0.01}
    trainable = RayWorker(given)
    written = []
    for seconds in (5, 20, 31, 40, 50, 60):
        clock[0] = seconds
        result = trainable.step()
        written.append((result["report"].rung, result["checkpoint"] is not None))
    # a rung at 20 s and at 60 s; at 50 s half a minute has passed since the first of them
    assert written == [(False, False), (True, True), (False, False), (False, False), (False, True), (True, True)]

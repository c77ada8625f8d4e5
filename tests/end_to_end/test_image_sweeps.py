"""Tiny sweeps of both image models through the command line, with pictures, sampling curves, seeds and real files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from PIL import Image

from tests.conftest import Cli, Entry, Sweep, read_entries
from tests.tune_app.driver.sessions import LocalSession
from trainables import data as data_sets
from trainables import sample_metrics
from trainables.metrics.cnn import Cnn
from trainables.trial import Trial
from tune_app.driver.trial_spec import run_spec, trial_spec
from tune_app.experiment.events import Reported
from tune_app.experiment.folder import Experiment

pytestmark = pytest.mark.ray
TINY = [
    "fixed.width=8", "fixed.batch_size=16", "scheduler.max_kimg=0.256", "scheduler.grace_kimg=0.128",
    "evaluation.report_kimg=0.064", "evaluation.samples=16", "evaluation.final_samples=16", "evaluation.nfe=6",
    "recheck.trials=0", "recheck.draws=2", "recheck.samples=24", "recheck.nfe=20", "recheck.seeds=0",
]  # fmt: skip
CORES = len(os.sched_getaffinity(0))
ONE_WORKER = f"resources.cpu={CORES / 2 + 0.5}"  # one trial at once, on half of the threads


def command(space: str, *settings: str, data: str = "shapes") -> list[str]:
    sets = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    return ["run", space, "--profile", "laptop", "--trials", "4", "--data", data, *sets]


def sweep(cli: Cli, folder: Path, space: str, *settings: str, data: str) -> Sweep:
    done = cli(*command(space, *settings, data=data), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return Sweep(max((folder / "experiments").iterdir()))


def test_an_ncsn_sweep_searches_its_step_inside_each_evaluation_and_bears_a_kill(cli: Cli, folder: Path) -> None:
    found = killed_and_resumed(cli, folder, "ncsn_space.yaml", "0001 at 0.128 kimg", ONE_WORKER, "recheck.trials=2")
    assert_numbers_of_the_seed(found, folder, threads=max(1, CORES // 2))
    rungs = [event for event in found.of("reported") if event["rung"]]
    assert {len(event["curve"]) for event in rungs if event["kimg"] == 0.128} == {3}
    assert {len(event["curve"]) for event in rungs if event["kimg"] == 0.256} == {5}
    for event in rungs:
        lowest = min(event["curve"], key=lambda setting: setting["kid"])
        assert event["sampling"]["step_size"] == lowest["step_size"]
        assert event["metrics"]["kid"] == lowest["kid"]
        assert 0 < event["settled"]["step_lr"] < 0.02**2
        assert event["levels"] == sorted(event["levels"], key=lambda level: -level["sigma"])
        assert all(level["loss"] > 0 for level in event["levels"])
        with Image.open(found.folder / event["pictures"]["samples"]) as picture:
            assert (picture.format, picture.width > 100) == ("PNG", True)
    assert not [event for event in found.of("asked") if "step_size" in event["params"]]

    storage = JournalStorage(JournalFileBackend(str(found.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    finals = {int(event["trial"]): event for event in rungs if event["kimg"] == 0.256}
    for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        assert trial.params["step_size"] == finals[trial.number]["sampling"]["step_size"]
    assert_measured_again(found)
    baselines = [event for event in found.of("asked") if event["source"] == "baseline"]
    assert [event["params"]["num_scales"] for event in baselines] == [10, 30]


def assert_measured_again(found: Sweep) -> None:
    """Check that the two best trials and the best baseline were re-evaluated with a larger budget, and decide."""
    ends = {event["trial"]: event["metrics"]["kid"] for event in found.of("ended") if event["state"] == "completed"}
    again = {event["trial"]: event for event in found.of("rechecked")}
    order = sorted(ends, key=lambda trial: ends[trial])
    baselines = {event["trial"] for event in found.of("asked") if event["source"] == "baseline"}
    assert set(again) == {*order[:2], next(trial for trial in order if trial in baselines)}
    for event in again.values():
        assert [len(event["draws"]), len(event["same"])] == [2, 2]
        assert event["draws"][0]["kid"] != event["draws"][1]["kid"]
        assert event["draws"][0]["nfe"] > event["same"][0]["nfe"]
        assert (found.folder / event["pictures"]["samples"]).is_file()
    summary = json.loads((found.folder / "summary.json").read_text())
    means = {trial: sum(draw["kid"] for draw in event["draws"]) / 2 for trial, event in again.items()}
    assert summary["best"]["trial"] == min(means, key=lambda trial: means[trial])
    assert summary["best"]["value"] == pytest.approx(min(means.values()))
    assert summary["best"]["sweep_value"] == ends[summary["best"]["trial"]]
    assert {row["trial"] for row in summary["answer"]["rechecked"]} == set(again)


def test_the_best_settings_are_trained_again_with_other_seeds_and_bear_a_kill(cli: Cli, folder: Path) -> None:
    changes = ("recheck.trials=2", "recheck.seeds=2")
    found = killed_and_resumed(cli, folder, "beta_vae_space.yaml", "0005 asked (trial", *changes, data="digits")
    asked = {event["trial"]: event for event in found.of("asked")}
    again = [event for event in asked.values() if event["source"] == "retraining"]
    counts = Counter(event["retrains"] for event in again)
    assert set(counts.values()) == {2}
    assert 2 <= len(counts) <= 3  # the best two and the best baseline, which may be one of them
    assert [event["retrains"] for event in again] == 2 * list(counts)  # the first training of each comes first
    for event in again:
        assert event["params"] == asked[event["retrains"]]["params"]
        (rung,) = (one for one in found.of("reported") if one["trial"] == event["trial"] and one["rung"])
        assert rung["kimg"] == 0.256
    draws = {event["trial"]: event["draws"] for event in found.of("rechecked")}
    assert set(draws) >= {event["trial"] for event in again}
    of_trainings = {trial: sum(draw["kid"] for draw in of_trial) / 2 for trial, of_trial in draws.items()}
    summary = json.loads((found.folder / "summary.json").read_text())
    best = summary["best"]
    means = [of_trainings[event["trial"]] for event in again if event["retrains"] == best["trial"]]
    assert best["trainings"] == pytest.approx(means)
    assert best["value"] == pytest.approx(sum(means) / 2)
    assert "When each trial ran" in (found.folder / "report.html").read_text()
    assert (summary["trained_again"], sum(summary["trials"].values())) == (len(again), 4)
    storage = JournalStorage(JournalFileBackend(str(found.folder / "study.journal")))
    assert len(optuna.load_study(study_name=None, storage=storage).trials) == 4


def killed_and_resumed(cli: Cli, folder: Path, space: str, line: str, *settings: str, data: str = "shapes") -> Sweep:
    """Return a sweep whose driver was killed once it had printed `line`, and which was then resumed."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "tune_app", *command(space, *settings, data=data)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert driver.stdout
    assert any(line in printed for printed in driver.stdout)
    driver.kill()
    driver.communicate()
    resumed = cli("resume", "latest", timeout=400)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    return Sweep(max((folder / "experiments").iterdir()))


def assert_numbers_of_the_seed(found: Sweep, folder: Path, threads: int) -> None:
    """Check that one process without Ray gives exactly the same parameters and metrics for the same seed."""
    experiment = Experiment(found.folder)
    config = experiment.config()
    images = data_sets.load(run_spec(config, {}, seed=0).data)
    measure = sample_metrics.build_sample_metrics(
        images, config.evaluation.features, saved=experiment.features.read_bytes()
    )
    local = LocalSession(config, folder)
    search, log = local.searcher, local.log
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    while (handed := search.next_trial()) is not None:
        spec = trial_spec(config, local.records.trials[handed.trial_id])
        trial = Trial(spec, rungs=config.rungs, report_kimg=config.evaluation.report_kimg, sample_metrics=measure)
        while not trial.done:
            fields = {**vars(trial.advance()), "pictures": {}, "trial": handed.trial_id}
            decision = "stop" if trial.done else "continue"
            log.append(Reported.model_validate({**fields, "time": log.now(), "decision": decision}))
        search.on_trial_complete(handed.trial_id)
    torch.set_num_threads(before)
    log.close()

    def numbers(events: list[Entry]) -> list[object]:
        kept = [event for event in events if event["event"] in ("asked", "reported")]
        metrics = [timeless(event.get("metrics", {})) for event in kept]
        return [(e["trial"], e.get("params"), e.get("curve"), m) for e, m in zip(kept, metrics, strict=True)]

    assert numbers(found.events) == numbers(read_entries(local.session.experiment.folder))


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith("seconds")}


@pytest.fixture
def photographs(folder: Path) -> Path:
    """Write a folder data set of JPEG files of 32 x 32 pixels. The laptop profile reduces them to 16 x 16."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 120), ("test", 40)):
        for label in ("a cat", "d'og"):
            place = folder / "my photographs" / part / label
            place.mkdir(parents=True)
            for number in range(count // 2):
                pixels = draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.jpg", quality=75)
    return folder / "my photographs"


def test_a_beta_vae_sweep_on_a_folder_of_photographs(cli: Cli, folder: Path, photographs: Path) -> None:
    found = sweep(cli, folder, "beta_vae_space.yaml", data=f"folder:{photographs.name}")
    last = [event for event in found.of("reported") if event["kimg"] == 0.256][-1]
    parts = ("loss", "recon_loss", "kl_loss", "beta_kl_loss")
    losses = {*parts, *(f"train_{name}" for name in parts)}
    measures = {
        "kid",
        "kid_stderr",
        "kid_alt",
        "kid_blurs",
        "kid_recon",
        "fd",
        "bpd",
        "diversity",
        "recon_mse",
        "beta_eff",
        "seconds",
    }
    assert losses | measures <= last["metrics"].keys()
    assert "mig" not in last["metrics"]  # nobody knows the factors of a photograph
    assert last["pictures"].keys() == {"samples", "reconstructions", "traversal", "interpolation"}
    for path in last["pictures"].values():
        Image.open(io.BytesIO((found.folder / path).read_bytes())).verify()
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert len(manifest["data"]["fingerprint"]) == 64
    assert list(manifest["features"]) == ["randconv", "cnn"]
    assert last["features"] == f"randconv {manifest['features']['randconv'][:12]}"
    assert found.of("sweep_started")[0]["features"] == manifest["features"]
    assert Cnn.load((found.folder / "features.pt").read_bytes()).fingerprint == manifest["features"]["cnn"]


def test_a_photograph_of_another_size_is_named_before_anything_starts(
    cli: Cli, folder: Path, photographs: Path
) -> None:
    Image.new("RGB", (30, 32)).save(photographs / "train" / "a cat" / "odd one.png")
    done = cli("run", "beta_vae_space.yaml", "--profile", "laptop", "--data", f"folder:{photographs.name}")
    assert done.returncode == 2
    assert "odd one.png" in done.stderr
    assert not (folder / "experiments").exists()


def test_train_writes_checkpoints_and_samples_without_ray(cli: Cli, folder: Path, photographs: Path) -> None:
    done = cli(
        "train", "beta_vae", "--beta", "4.0", "--latent_dim", "4", "--lr", "5e-5", "--set", "width=8",
        "--data", f"folder:{photographs.name}", "--resolution", "16", "--epochs", "11", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    place = Path(found["folder"])
    assert {path.name for path in (place / "checkpoints").iterdir()} == {"beta_vae_epoch_10", "beta_vae_epoch_11"}
    assert {path.name for path in place.glob("samples-*")} == {f"samples-epoch-{epoch}.png" for epoch in (5, 10, 11)}
    assert found["metrics"]["kid"] is not None

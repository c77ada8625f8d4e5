"""Experiments that version 0.1.0 made and whose drivers were killed: this version resumes and finishes them.

assets/experiments-0.1.0.tar.gz holds a Branin sweep of 8 trials, killed in its sixth, and an NCSN sweep of 3 tiny
trials, killed in its second. The expected values are those that version 0.1.0 logged when it resumed a copy.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep, read_entries
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import read

ASSET = Path(__file__).parent / "assets/experiments-0.1.0.tar.gz"
BRANIN, NCSN = "branin-20261126-120100", "ncsn-20261126-120000"
BRANIN_ASKED = {
    "0006": {"step_seconds": 0.05, "x1": 9.616783539056419, "x2": 3.453250306661416},
    "0007": {"step_seconds": 0.05, "x1": -4.163560691066278, "x2": 2.1952200650538387},
}
BRANIN_ENDS = {
    "0004": ("completed", 7.575157796479518),
    "0005": ("completed", 13.42968307197828),
    "0006": ("completed", 1.2329167517971538),
    "0007": ("stopped", 166.46253564508746),
}
NCSN_ASKED = {
    "batch_size": 16, "ema": 0.999, "arch": "unet", "width": 4, "groups": 8, "sigma_begin": 2.8602279898200833,
    "sigma_end": 0.018537003207431946, "num_scales": 19, "lr": 0.0014582691017089597,
    "ladder": "uniform", "sampler": "langevin", "flip": False, "network": 1,
}  # fmt: skip


@pytest.fixture
def old(folder: Path) -> Path:
    """Return the folder with the old experiments."""
    with tarfile.open(ASSET) as archive:
        archive.extractall(folder / "experiments", filter="data")
    return folder / "experiments"


def test_the_log_of_the_old_version_is_read_and_its_lines_are_written_alike(old: Path) -> None:
    for name in (BRANIN, NCSN):
        assert [event.as_json() for event in read(old / name / "events.jsonl")] == read_entries(old / name)
        assert Experiment(old / name).config().name in name


@pytest.mark.ray
def test_an_old_branin_sweep_goes_on_with_the_trials_the_old_version_would_have_run(cli: Cli, old: Path) -> None:
    done = cli("resume", BRANIN)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = Sweep(old / BRANIN)
    asked = {event["trial"]: event["params"] for event in sweep.of("asked")}
    assert {trial: asked[trial] for trial in BRANIN_ASKED} == BRANIN_ASKED
    ends = {event["trial"]: (event["state"], event["metrics"]["value"]) for event in sweep.of("ended")}
    assert {trial: ends[trial] for trial in BRANIN_ENDS} == BRANIN_ENDS
    assert len(ends) == 8


@pytest.mark.ray
def test_an_old_image_sweep_continues_from_its_checkpoints_and_features(cli: Cli, old: Path) -> None:
    features = (old / NCSN / "features.pt").read_bytes()
    done = cli("resume", NCSN, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = Sweep(old / NCSN)
    assert [event["params"] for event in sweep.of("asked")][-1] == NCSN_ASKED
    assert {event["trial"]: event["state"] for event in sweep.of("ended")} == dict.fromkeys(
        ("0000", "0001", "0002"), "completed"
    )
    reports = [event["kimg"] for event in sweep.of("reported") if event["trial"] == "0001"]
    assert reports == [0.064, 0.128, 0.192, 0.256], "no report was repeated or lost"
    assert sweep.summary["best"]["draws"] == 2
    assert (old / NCSN / "features.pt").read_bytes() == features

"""Checkpoints measured like trials: ours, the reference project's, and invalid ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import evaluation, sample_metrics
from trainables.beta_vae.task import BetaVae
from trainables.catalog import MODELS
from trainables.contract import DataSpec, RunSpec, Scalar
from trainables.seed_checkpoint import VAE, _leaves
from trainables.trial import Trial
from tune_app.commands.measure_checkpoint import STEP_SIZES, MeasureRequest, measure_checkpoint
from tune_app.config.load import dump, load
from tune_app.errors import InputError
from tune_app.experiment.out_folder import create

SMALL: dict[str, Scalar] = {"width": 8, "batch_size": 16, "num_scales": 4, "groups": 2}


@pytest.fixture(scope="module", autouse=True)
def small_measures() -> Iterator[None]:
    """Use the weight-free features. Other tests cover the cnn features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_metrics, "_pair", lambda features, *, labelled: ("randconv", ""))
        patch.setattr(sample_metrics, "CORRUPTED_IMAGES", 100)
        patch.setattr(evaluation, "JUDGED_IMAGES", 64)
        patch.setattr("trainables.metrics.disentanglement.TREES", 2)
        sample_metrics.default_sample_metrics.cache_clear()
        yield
    sample_metrics.default_sample_metrics.cache_clear()


def measured(path: Path, sets: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    given = {"data": None, "resolution": None, "samples": 16, "nfe": 6, "seed": 0, **more}
    return measure_checkpoint(MeasureRequest(path, sets=sets or {}, **given), say=lambda line: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_measures: None) -> Path:
    """Return a checkpoint of a tiny NCSN trial."""
    folder = tmp_path_factory.mktemp("trial") / "checkpoint"
    known = MODELS["ncsn"].parameters
    params = {name: SMALL.get(name, item.default) for name, item in known.items() if item.stage == "training"}
    inner = {name: item.default for name, item in known.items() if item.stage == "sampling"}
    spec = RunSpec(
        model="ncsn", params=params, seed=1, data=DataSpec("shapes", 16), samples=16, final_samples=16, nfe=6,
        sampling=(inner,), final_sampling=(inner,), max_kimg=0.064,
    )  # fmt: skip
    trial = Trial(spec, rungs=[0.064], report_kimg=0.064)
    trial.advance()
    trial.save(folder)
    return folder


def test_a_checkpoint_that_an_experiment_keeps_elsewhere_is_fetched(trained: Path, tmp_path: Path) -> None:
    experiment = create(tmp_path, "night")
    away = (tmp_path / "away").as_uri()
    config = load("ncsn_space.yaml", set={"storage": away, "evaluation.features": "randconv"})
    experiment.sweep_yaml.write_text(dump(config))
    name = "trials/0003/checkpoint_000000064"
    with pytest.raises(InputError, match=f"^{experiment.place(name, away)}: there is no checkpoint there$"):
        measured(experiment.folder / name)
    shutil.copytree(trained, tmp_path / "away" / experiment.folder.name / name)
    found = measured(experiment.folder / name)
    assert found["metrics"]["kid"] == measured(trained)["metrics"]["kid"]
    assert found["checkpoint"] == str(experiment.folder / name)


def test_a_checkpoint_of_ours_is_measured_on_its_own_data_with_its_averaged_weights(trained: Path) -> None:
    found = measured(trained)
    assert (found["model"], found["data"]["name"], found["data"]["resolution"]) == ("ncsn", "shapes", 16)
    assert {"kid", "kid_stderr", "bpd", "bpd_ct", "fd", "diversity", "loss", "reference_loss"} <= found[
        "metrics"
    ].keys()
    assert found["metrics"]["reference_loss"] == found["metrics"]["loss"]
    assert found["sampling"]["step_size"] in STEP_SIZES
    assert found["features"].startswith("randconv ")
    again = measured(trained)
    assert {k: v for k, v in again["metrics"].items() if "seconds" not in k} == {
        k: v for k, v in found["metrics"].items() if "seconds" not in k
    }
    other = Trial(RunSpec(**{**spec_of(trained), "seed": 1}), rungs=[0.064], report_kimg=0.064)
    other.load(trained)
    assert other.run.evaluate(final=True).metrics["bpd"] == pytest.approx(found["metrics"]["bpd"], rel=1e-6)


def spec_of(checkpoint: Path) -> dict[str, Any]:
    spec = json.loads((checkpoint / "about.json").read_text())["spec"]
    return {**spec, "data": DataSpec(**spec["data"])}


def test_a_step_that_is_asked_for_is_the_only_one_tried(trained: Path) -> None:
    found = measured(trained, {"step_size": "3.0"})
    assert found["sampling"]["step_size"] == 3.0


def test_a_file_of_the_reference_takes_its_beta_from_the_command_line(tmp_path: Path) -> None:
    params = {
        **{name: item.default for name, item in MODELS["beta_vae"].parameters.items()},
        "width": 4,
        "latent_dim": 6,
    }
    path = tmp_path / "beta_vae_epoch_10.pth"
    theirs = _leaves(VAE)
    weights = {theirs[name]: weight for name, weight in BetaVae(params).network.state_dict().items()}
    torch.save({"epoch": 10, "model_state_dict": weights}, path)
    one, four = (measured(path, {"beta": beta}, data="shapes")["metrics"] for beta in ("1.0", "4.0"))
    assert one["reference_loss"] == pytest.approx(one["recon_loss"] + one["kl_loss"])
    assert four["reference_loss"] == pytest.approx(four["recon_loss"] + 4 * four["kl_loss"])
    assert one["bpd"] == four["bpd"]  # it does not depend on the given beta
    iwae = measured(path.rename(tmp_path / "iwae_k1.pth"), {}, data="shapes")["metrics"]
    assert iwae["reference_loss"] == pytest.approx(iwae["recon_loss"] / 2 + iwae["kl_loss"], rel=0.02)  # half the error


@pytest.mark.parametrize(
    ("sets", "more", "said"),
    [
        ({"sigma_begin": "-1"}, {}, "sigma_begin"),
        ({"sgima_begin": "1"}, {}, "did you mean sigma_begin"),
        ({}, {"data": "shape"}, "no such data set"),
        ({"width": "16"}, {}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_named(sets: dict[str, str], more: dict[str, Any], said: str, trained: Path) -> None:
    with pytest.raises(InputError) as caught:
        measured(trained, sets, **more)
    assert said in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + b"\0" * 40])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ncsn_epoch_1.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"ncsn_epoch_1\.pth"):
        measured(tmp_path / "ncsn_epoch_1.pth")


def test_a_folder_that_is_no_checkpoint_is_refused_and_a_missing_path_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a checkpoint"):
        measured(tmp_path)
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        measured(tmp_path / "nowhere")


@pytest.mark.parametrize("spec", [{}, {"model": "gan", "params": {}}, {"model": ["ncsn"], "params": 3}])
def test_a_checkpoint_that_lies_about_itself_is_refused(spec: dict[str, Any], trained: Path, tmp_path: Path) -> None:
    liar = shutil.copytree(trained, tmp_path / "liar")
    about = json.loads((liar / "about.json").read_text())
    (liar / "about.json").write_text(json.dumps({**about, "spec": spec}))
    with pytest.raises(InputError, match="does not say which model"):
        measured(liar)

"""The Tune wrapper: a used actor gives the numbers of a fresh one, and parks when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables.catalog import MODELS
from trainables.model import DataSpec, RunSpec
from trainables.ray_trainable import RayTrial

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, on building a Trainable


def config(model: str, seed: int, stop_file: Path) -> dict[str, Any]:
    known = MODELS[model].parameters
    tiny = {"width": 8, "batch_size": 32, "num_scales": 4, "groups": 4, "latent_dim": 4}
    params = {name: tiny.get(name, item.default) for name, item in known.items() if item.stage == "training"}
    sampling = {name: item.default for name, item in known.items() if item.stage == "sampling"}
    spec = RunSpec(
        model=model, params=params, seed=seed, data=DataSpec("shapes", 16), samples=16, final_samples=16, nfe=4,
        sampling=(sampling,), final_sampling=(sampling,),
    )  # fmt: skip
    return {"spec": spec, "rungs": [0.064, 0.128], "report_kimg": 0.064, "threads": 1, "stop_file": str(stop_file)}


def numbers(trainable: RayTrial) -> list[dict[str, float]]:
    reports = [trainable.step()["report"].metrics for _ in range(2)]
    return [{name: value for name, value in report.items() if not name.endswith("_seconds")} for report in reports]


@pytest.mark.parametrize("model", ["ncsn", "beta_vae"])
def test_a_trial_gives_the_same_numbers_in_a_fresh_and_in_a_used_actor(model: str, tmp_path: Path) -> None:
    fresh = numbers(RayTrial(config(model, 1, tmp_path / "stop")))
    used = RayTrial(config("beta_vae" if model == "ncsn" else "ncsn", 7, tmp_path / "stop"))
    numbers(used)
    assert used.reset_config(config(model, 1, tmp_path / "stop"))
    assert numbers(used) == fresh
    assert {"kid", "kid_stderr", "loss", "train_loss"} <= fresh[-1].keys()


def test_a_trial_parks_with_a_checkpoint_at_its_next_report(tmp_path: Path) -> None:
    trainable = RayTrial(config("beta_vae", 1, tmp_path / "stop"))
    assert not trainable.step()["parked"]
    (tmp_path / "stop").touch()
    result = trainable.step()
    assert result["parked"]
    assert result["should_checkpoint"]
    assert trainable.step() == {"parked": True}

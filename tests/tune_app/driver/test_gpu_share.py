"""`resources.gpu: auto`: what is tried, what is measured, and what follows; a GPU is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from tests.trainables.tiny import tiny_spec
from trainables import gpu_memory as memory
from trainables.contract import NonFiniteError, RunSpec
from trainables.gpu_memory import Need
from tune_app.cluster.ray import Cluster
from tune_app.config.load import load
from tune_app.config.schema import SweepConfig
from tune_app.driver import gpu_share
from tune_app.driver.trial_spec import Basis
from tune_app.errors import InputError


def auto(**parameters: str) -> SweepConfig:
    changes = {f"parameters.{name}": value for name, value in parameters.items()}
    return load("ncsn_space.yaml", set={"baselines": "[]", "resources.gpu": "auto", **changes})


def test_numbers_are_tried_at_their_top_and_names_in_every_combination() -> None:
    config = auto(
        width="{type: categorical, choices: [64, 128, 96]}",
        conditioning="{type: categorical, choices: [log_sigma, sigma]}",
        input_scaling="{type: categorical, choices: [true, false]}",
    )
    points = list(gpu_share.largest(config))
    assert {(point["conditioning"], point["input_scaling"]) for point in points} == {
        (name, scaled) for name in ("log_sigma", "sigma") for scaled in (True, False)
    }
    assert {(point["width"], point["num_scales"]) for point in points} == {(128, 232)}
    assert "step_size" not in points[0], "a sampling setting is no parameter of a run"


class Watched:
    """A run that holds a GB for each image it was trained on, and twice that once it is evaluated."""

    built: ClassVar[list[RunSpec]] = []
    held = 0.0

    def __init__(self, spec: RunSpec) -> None:
        Watched.built.append(spec)

    def train(self, images: int) -> dict[str, float]:
        Watched.held = float(images)
        return {}

    def evaluate(self, *, final: bool, yardstick: object) -> None:
        Watched.held *= 2
        raise NonFiniteError("so few steps may end in anything")


def test_a_run_is_trained_and_sampled_before_the_reading_and_measured_once_for_each_kind_of_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path))
    monkeypatch.setattr("trainables.catalog.build", Watched)
    spec = tiny_spec("beta_vae")

    def need(gpu: str) -> Need:
        return memory.need(spec, None, lambda: Need(Watched.held, gpu, 80.0))

    assert need("A") == need("A") == (2 * memory.STEPS * 8, "A", 80.0)
    assert len(Watched.built) == 1
    need("B")
    assert [(small.samples, small.nfe) for small in Watched.built] == [(memory.SAMPLES, memory.NFE)] * 2


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Of two GPU nodes that nobody has."""
    found = Cluster(cpus=32, gpus=4, slots=0, local=False, scratch=tmp_path)
    monkeypatch.setattr("tune_app.cluster.ray._nodes", lambda: [{"CPU": 16.0, "GPU": 2.0}] * 2)
    return found


def test_the_share_is_that_of_the_tightest_gpu_and_the_slots_follow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = {"A": [(9.0, "A", 80.0), (12.0, "A", 80.0)], "B": [(11.0, "B", 40.0)]}
    monkeypatch.setattr(gpu_share, "_kinds", lambda: [*needs])
    monkeypatch.setattr(gpu_share, "_measured", lambda config, kind, basis: needs[kind])
    said: list[str] = []
    config = gpu_share.settled(auto(), cluster, Basis(), said.append)
    assert (config.resources.gpu, cluster.slots) == (0.3333, 12)
    assert said[1] == "resources.gpu: auto: a trial needs up to 11.0 of the 40 GB of a B, so it gets 0.3333 of it"
    needs["B"] = [(39.0, "B", 40.0)]
    with pytest.raises(InputError, match=r"a trial needs up to 39\.0 GB, and a B has 40"):
        gpu_share.settled(auto(), cluster, Basis(), said.append)


def test_a_number_stays_as_it_is(cluster: Cluster) -> None:
    config = load("ncsn_space.yaml")
    assert gpu_share.settled(config, cluster, Basis(), print) is config

"""`resources.gpu: auto`: the models tried, the memory measured and the share chosen. No GPU is needed."""

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
from tune_app.driver.shared_data import SharedData
from tune_app.errors import InputError


def auto(**parameters: str) -> SweepConfig:
    changes = {f"parameters.{name}": value for name, value in parameters.items()}
    return load("ncsn_space.yaml", set={"baselines": "[]", "resources.gpu": "auto", **changes})


def test_numbers_are_tried_at_their_highest_and_categories_in_every_combination() -> None:
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
    assert "step_size" not in points[0], "a sampling setting is not a parameter of a run"


class Watched:
    """A run that uses one GB per training image, and twice that in the evaluation."""

    built: ClassVar[list[RunSpec]] = []
    held = 0.0

    def __init__(self, spec: RunSpec) -> None:
        Watched.built.append(spec)

    def train(self, images: int) -> dict[str, float]:
        Watched.held = float(images)
        return {}

    def evaluate(self, *, final: bool, sample_metrics: object) -> None:
        Watched.held *= 2
        raise NonFiniteError("a few steps may end in NaN")


def test_the_memory_is_read_after_training_and_sampling_once_for_each_kind_of_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path))
    monkeypatch.setattr("trainables.gpu_memory.build", Watched)
    spec = tiny_spec("beta_vae")

    def need(gpu: str) -> Need:
        return memory.need(spec, None, lambda: Need(Watched.held, gpu, 80.0))

    assert need("A") == need("A") == (2 * memory.STEPS * 8, "A", 80.0)
    assert len(Watched.built) == 1
    need("B")
    assert [(small.samples, small.nfe) for small in Watched.built] == [(memory.SAMPLES, memory.NFE)] * 2


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a cluster of two GPU nodes that does not exist."""
    cluster = Cluster(cpus=32, gpus=4, slots=0, local=False, scratch=tmp_path)
    monkeypatch.setattr("tune_app.cluster.ray._nodes", lambda: [{"CPU": 16.0, "GPU": 2.0}] * 2)
    return cluster


def test_the_share_fits_the_smallest_gpu_and_the_slots_follow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = {"A": [Need(9.0, "A", 80.0), Need(12.0, "A", 80.0)], "B": [Need(11.0, "B", 40.0)]}
    monkeypatch.setattr(gpu_share, "_kinds", lambda: [*needs])
    monkeypatch.setattr(gpu_share, "_measure", lambda config, kind, data, note: needs[kind])
    notes: list[str] = []
    config = gpu_share.settle_gpu_share(auto(), cluster, SharedData(), notes.append)
    assert (config.resources.gpu, cluster.slots) == (0.3333, 12)
    assert notes[1] == (
        "resources.gpu: auto: a trial needs up to 11.0 GB of the B's 40 GB, so each trial gets 0.3333 of a GPU"
    )
    needs["B"] = [Need(39.0, "B", 40.0)]
    with pytest.raises(InputError, match=r"a trial needs up to 39\.0 GB, and a B has 40 GB"):
        gpu_share.settle_gpu_share(auto(), cluster, SharedData(), notes.append)


def test_a_number_is_left_unchanged(cluster: Cluster) -> None:
    config = load("ncsn_space.yaml")
    assert gpu_share.settle_gpu_share(config, cluster, SharedData(), print) is config

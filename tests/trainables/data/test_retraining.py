"""The images of a retraining: it trains on the held-out images too, and only it sees the test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.contract import DataError, DataSpec
from trainables.data import ImageData, load
from trainables.sample_metrics import build_sample_metrics, sample_metrics_of

SHAPES = DataSpec("shapes", 16)


@pytest.fixture
def searched(shapes_cache: Path) -> ImageData:
    return load(SHAPES, shapes_cache)


@pytest.fixture
def retrained(shapes_cache: Path) -> ImageData:
    return load(replace(SHAPES, evaluated_on="test"), shapes_cache)


def test_a_retraining_trains_on_the_held_out_images_and_holds_out_the_test_images(
    searched: ImageData, retrained: ImageData
) -> None:
    assert torch.equal(retrained.train, torch.cat([searched.train, searched.held_out]))
    assert torch.equal(retrained.train_labels, torch.cat([searched.train_labels, searched.held_out_labels]))
    assert torch.equal(retrained.held_out, searched.test)
    assert torch.equal(retrained.held_out_labels, searched.test_labels)
    assert retrained.fingerprint != searched.fingerprint
    assert retrained.mean == pytest.approx(float(retrained.train.double().mean()) / 255)


def test_the_factors_of_the_test_images_go_with_them(searched: ImageData, retrained: ImageData) -> None:
    assert searched.train_factors is not None
    assert searched.factors is not None
    assert retrained.train_factors is not None
    assert retrained.factors is not None
    assert torch.equal(retrained.train_factors, torch.cat([searched.train_factors, searched.factors]))
    assert torch.equal(retrained.factors[:, 0], searched.test_labels)


def test_a_retraining_compares_samples_with_the_test_images_in_the_units_of_the_sweep(
    searched: ImageData, retrained: ImageData, shapes_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(shapes_cache))
    monkeypatch.setattr("trainables.metrics.cnn.IMAGES", 300)
    monkeypatch.setattr("trainables.sample_metrics.CORRUPTED_IMAGES", 100)
    swept = build_sample_metrics(searched, "randconv")
    made = sample_metrics_of(replace(SHAPES, evaluated_on="test"), "randconv", saved=swept.cnn)
    assert (made.compared, made.part, made.fresh) == (2000, "held_out", None)
    assert made.fingerprints == swept.fingerprints
    assert made.main.unit is swept.main.unit or all(
        torch.equal(one, two) for one, two in zip(made.main.unit, swept.main.unit, strict=True)
    )
    assert made.scale == swept.scale
    samples = searched.train[:200]
    assert made.measure(samples).metrics["kid"] != swept.measure(samples).metrics["kid"]
    own = build_sample_metrics(retrained, "randconv", saved=swept.cnn)
    assert not torch.equal(own.main.unit[0], made.main.unit[0]), "the test images must not set the units"


def test_too_few_test_images_are_refused_with_a_sentence(folder: Path, cache: Path) -> None:
    from PIL import Image

    for part, count in (("train", 12), ("test", 1)):
        (folder / part / "a").mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / part / "a" / f"{number}.png")
    spec = DataSpec("folder", 16, str(folder))
    assert len(load(spec, cache).test) == 1
    with pytest.raises(DataError, match="a retraining needs 3 test images or more, not 1"):
        load(replace(spec, evaluated_on="test"), cache)

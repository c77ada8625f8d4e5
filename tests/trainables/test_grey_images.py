"""Networks, metrics and pictures of images with one channel."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from math import isfinite

import pytest
import torch
from PIL import Image

from tests.trainables.tiny import tiny_data, tiny_model, tiny_spec
from trainables.data import ImageData
from trainables.metrics import cnn, randconv
from trainables.saved_model import SavedModel
from trainables.training import ImageRun

CPU = torch.device("cpu")


def grey_data(side: int) -> ImageData:
    data = tiny_data(side)
    return replace(data, train=data.train[:, :1], held_out=data.held_out[:, :1], fingerprint=f"grey {side}")


@pytest.mark.parametrize(("kind", "side"), [("ncsn", 24), ("beta_vae", 48)])
def test_a_model_is_trained_and_evaluated_on_grey_images(kind: str, side: int) -> None:
    spec = replace(tiny_spec(kind), samples=16, nfe=4)
    run = ImageRun(spec, tiny_model(spec, side, channels=1), grey_data(side), CPU)
    run.train(8)
    evaluation = run.evaluate(final=False)
    assert isfinite(evaluation.metrics["kid"])
    for png in evaluation.pictures.values():
        red, green, blue = Image.open(BytesIO(png)).split()
        assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert SavedModel.of_run(run, {}, 4).sample(2).shape == (2, 1, side, side)


@pytest.mark.parametrize("kind", ["refinenet", "resunet"])
def test_the_other_networks_take_one_channel_too(kind: str) -> None:
    model = tiny_model(tiny_spec(kind), channels=1)
    assert model.network(torch.rand(2, 1, 16, 16), torch.ones(2, 1, 1, 1)).shape == (2, 1, 16, 16)


def test_the_features_of_a_grey_image_are_those_of_the_same_image_in_colour() -> None:
    grey = tiny_data().train[:, :1]
    assert torch.equal(randconv.features(grey), randconv.features(grey.repeat(1, 3, 1, 1)))


def test_the_trained_features_take_grey_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "IMAGES", 30)
    grey = tiny_data().train[:, :1]
    found = cnn.train(grey, torch.arange(30)[:, None] % 2, CPU)
    assert torch.equal(found(grey), found(grey.repeat(1, 3, 1, 1)))

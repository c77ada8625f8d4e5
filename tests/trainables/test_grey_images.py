"""Networks, metrics and pictures of images with one channel."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
import torch
from PIL import Image

from tests.trainables.tiny import SMALL, tiny_data, tiny_model, tiny_spec
from trainables.data import ImageData
from trainables.metrics import cnn, randconv
from trainables.saved_model import SavedModel
from trainables.training import ImageRun

CPU = torch.device("cpu")


def grey_data(side: int) -> ImageData:
    data = tiny_data(side)
    return replace(data, train=data.train[:, :1], held_out=data.held_out[:, :1], fingerprint=f"grey {side}")


@pytest.mark.parametrize(("kind", "side"), [(kind, 16) for kind in SMALL] + [("ncsn", 24), ("beta_vae", 48)])
def test_every_network_trains_on_grey_images_and_draws_them(kind: str, side: int) -> None:
    spec = replace(tiny_spec(kind), samples=16, nfe=4)
    run = ImageRun(spec, tiny_model(spec, side, channels=1), grey_data(side), CPU)
    run.train(16)
    evaluation = run.evaluate(final=False)
    assert evaluation.metrics["kid"] == evaluation.metrics["kid"]  # not NaN
    for png in evaluation.pictures.values():
        red, green, blue = Image.open(BytesIO(png)).split()
        assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert SavedModel.of_run(run, {}, 4).sample(2).shape == (2, 1, side, side)


def test_the_features_of_a_grey_image_are_those_of_the_same_image_in_colour() -> None:
    grey = tiny_data().train[:, :1]
    assert torch.equal(randconv.features(grey), randconv.features(grey.repeat(1, 3, 1, 1)))


def test_the_trained_features_take_grey_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "IMAGES", 30)
    grey = tiny_data().train[:, :1]
    found = cnn.train(grey, torch.arange(30)[:, None] % 2, CPU)
    assert torch.equal(found(grey), found(grey.repeat(1, 3, 1, 1)))

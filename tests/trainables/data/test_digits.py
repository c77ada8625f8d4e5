"""The digits that scikit-learn ships."""

from __future__ import annotations

from pathlib import Path

import torch

from trainables.contract import DataSpec
from trainables.data import load


def test_the_digits_are_real_grey_images_with_ten_classes(cache: Path) -> None:
    data = load(DataSpec("digits", 16, channels=1), cache)
    assert (len(data.train), len(data.held_out), len(data.test)) == (1457, 161, 179)
    assert data.train.shape[1:] == (1, 16, 16)
    assert data.classes == tuple("0123456789")
    ones, zeros = (data.train[data.train_labels == digit].float().mean(0)[0] for digit in (1, 0))
    assert zeros[8, 8] < 50, "a zero is dark in its middle"
    assert ones[8, 8] > 150, "a one is bright in its middle"
    assert (int(data.train.min()), int(data.train.max())) == (0, 255)


def test_the_digits_in_colour_are_the_same_pictures(cache: Path) -> None:
    grey, coloured = (load(DataSpec("digits", 16, channels=channels), cache) for channels in (1, 3))
    assert torch.equal(coloured.train, grey.train.expand(-1, 3, -1, -1))
    assert grey != coloured

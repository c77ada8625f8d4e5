from __future__ import annotations

from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.contract import DataSpec
from trainables.data import load, shapes


@pytest.mark.parametrize("resolution", [16, 32])
def test_shapes_are_split_and_labelled_by_their_shape(cache: Path, resolution: int) -> None:
    data = load(DataSpec("shapes", resolution), cache)
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [8000, 2000, 2000]
    assert data.train.shape[1:] == (3, resolution, resolution)
    assert data.classes == ("rectangle", "ellipse", "triangle")
    assert data.train_factors is not None
    assert data.factors is not None
    assert torch.equal(data.train_factors[:, 0], data.train_labels)
    assert torch.equal(data.factors[:, 0], data.held_out_labels)
    assert tuple(data.train_factors.max(0).values + 1) == tuple(shapes.FACTORS.values())
    both = torch.cat([data.train_factors, data.factors])
    assert len(torch.unique(both, dim=0)) == len(both)


def test_shapes_are_the_same_bytes_everywhere() -> None:
    factors = np.array([[0, 0, 1, 0, 7, 3, 8], [1, 5, 3, 4, 4, 0, 5], [2, 3, 6, 6, 2, 7, 0]])
    images = shapes.draw(factors, 16, np.random.default_rng(0))
    assert md5(images.tobytes()).hexdigest() == "aa2a0a68db1b262f454fe266cc9c2696"


def test_shape_is_drawn_where_and_in_the_colour_its_factors_say() -> None:
    places = [[shape, 5, 0, column, row, 0, 5] for shape in range(3) for column in (0, 7) for row in (0, 7)]
    images = shapes.draw(np.array(places), 32, np.random.default_rng(0)) / 255.0
    for image, (_, _, _, column, row, _, _) in zip(images, places, strict=True):
        red = image[0] > 0.6  # hue 0 on ground hue 5, cyan
        assert red.any()
        assert (np.argwhere(red).mean(0) < 15.5).tolist() == [row == 0, column == 0]


def test_pixel_noise_has_the_stated_deviation() -> None:
    table = shapes._normal_table()
    assert table.mean() == pytest.approx(0, abs=1e-6)
    assert table.std() == pytest.approx(1, abs=1e-3)
    blank = np.zeros((400, 7), np.int64)
    corner = shapes.draw(blank, 32, np.random.default_rng(0))[:, 1, -4:, -4:] / 255.0
    assert corner.std() == pytest.approx(shapes.NOISE, rel=0.03)

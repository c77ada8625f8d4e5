"""Procedural shapes on coloured backgrounds: no download, known factors, and the same bytes on every machine."""

import math
from colorsys import hsv_to_rgb
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trainables.contract import DataError, DataSpec
from trainables.data.images import Decoded, Pixels, Source
from trainables.progress import report

Floats = npt.NDArray[np.float32]
Factors = npt.NDArray[np.int64]

FACTORS = {"shape": 3, "scale": 6, "orientation": 8, "x": 8, "y": 8, "hue": 10, "ground_hue": 10}
SHAPES = ("rectangle", "ellipse", "triangle")
TRAIN, HELD_OUT, TEST = 8000, 2000, 2000
NOISE = 0.02
CHUNK = 500

# Tables, rounded: the rest is +, -, *, / and sqrt, which IEEE fixes to the last bit, so that fingerprints agree
# whatever the processor and its math library.
SCALES = np.linspace(0.32, 0.57, FACTORS["scale"], dtype=np.float32)
PLACES = np.linspace(-0.42, 0.42, FACTORS["x"], dtype=np.float32)
PERIODS = (math.pi, math.pi, 2 * math.pi)
"""Range of each shape's orientations. A rectangle or an ellipse looks the same after half a turn."""


def source(spec: DataSpec, _cache: Path) -> Source:
    """Return images of 12,000 of the 921,600 factor combinations, at 16 or 32 pixels. The label is the shape."""
    if spec.resolution not in (16, 32):
        raise DataError(f"shapes are drawn at resolution 16 or 32, not {spec.resolution}")
    return Source("shapes 2", partial(_decode, spec.resolution))


def _decode(resolution: int) -> Decoded:
    generator = np.random.default_rng(0)
    picks = generator.choice(math.prod(FACTORS.values()), TRAIN + HELD_OUT + TEST, replace=False)
    factors = np.stack(np.unravel_index(picks, tuple(FACTORS.values())), axis=1).astype(np.int64)
    parts = []
    for i in range(0, len(factors), CHUNK):
        report(f"drawing shapes: {i:,} of {len(factors):,}")
        parts.append(draw(factors[i : i + CHUNK], resolution, generator))
    images = np.concatenate(parts)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, part in (
        ("train", slice(0, TRAIN)),
        ("held_out", slice(TRAIN, TRAIN + HELD_OUT)),
        ("test", slice(TRAIN + HELD_OUT, None)),
    ):
        arrays |= {name: images[part], f"{name}_labels": factors[part, 0]}
    arrays |= {"train_factors": factors[:TRAIN], "factors": factors[TRAIN : TRAIN + HELD_OUT]}
    arrays["test_factors"] = factors[TRAIN + HELD_OUT :]
    return Decoded(arrays, SHAPES)


def draw(factors: Factors, resolution: int, generator: np.random.Generator) -> Pixels:
    """Return images (N, 3, resolution, resolution) of factors (N, 7) with Gaussian pixel noise, rounded to 8 bits."""
    cover = np.clip(0.5 - _distance(factors, resolution) * np.float32(resolution / 2), 0, 1)[:, None]  # (N, 1, H, W)
    figure, ground = _colours(0.85, 1.0)[factors[:, 5]], _colours(0.75, 0.55)[factors[:, 6]]  # (N, 3)
    clean = ground[:, :, None, None] + cover * (figure - ground)[:, :, None, None]
    noise = _normal_table()[generator.integers(0, 2**16, clean.shape, np.uint16)]
    pixels: Pixels = np.rint(np.clip(clean + np.float32(NOISE) * noise, 0, 1) * np.float32(255)).astype(np.uint8)
    return pixels


def _distance(factors: Factors, resolution: int) -> Floats:
    """Return the signed distance (N, H, W) of pixel centres to the outline, negative inside.

    The image spans [-1, 1].
    """
    shape, scale, turn, column, row = factors[:, :5].T
    centres = ((2 * np.arange(resolution) + 1) / resolution - 1).astype(np.float32)
    x = centres[None, None, :] - PLACES[column][:, None, None]
    y = centres[None, :, None] - PLACES[row][:, None, None]
    cosine, sine = _rotations()[:, shape, turn][:, :, None, None]
    u, v, r = cosine * x + sine * y, cosine * y - sine * x, SCALES[scale][:, None, None]
    distance: Floats = np.empty_like(u)
    for kind, outline in enumerate((_rectangle, _ellipse, _triangle)):
        rows = shape == kind
        distance[rows] = outline(u[rows], v[rows], r[rows])
    return distance


def _rectangle(u: Floats, v: Floats, r: Floats) -> Floats:
    distance: Floats = np.maximum(np.abs(u) - np.float32(0.9) * r, np.abs(v) - np.float32(0.55) * r)
    return distance


def _ellipse(u: Floats, v: Floats, r: Floats) -> Floats:
    """Return the first-order distance |p/a| (|p/a| - 1) / |p/a^2|, which is accurate near the outline."""
    long, short = r, np.float32(0.55) * r
    near = np.sqrt((u / long) ** 2 + (v / short) ** 2)
    slope = np.sqrt((u / long**2) ** 2 + (v / short**2) ** 2)
    distance: Floats = near * (near - 1) / np.maximum(slope, np.float32(1e-6))
    return distance


def _triangle(u: Floats, v: Floats, r: Floats) -> Floats:
    """Return the distance to an isosceles triangle with its tip at v = -r and its base, 1.4 r wide, at v = 0.75 r."""
    length = np.float32(math.hypot(1.75, 0.7))
    side = (np.float32(1.75) * np.abs(u) - np.float32(0.7) * (v + r)) / length
    distance: Floats = np.maximum(side, v - np.float32(0.75) * r)
    return distance


def _rotations() -> Floats:
    """Return cosine and sine (2, shapes, orientations)."""
    steps = FACTORS["orientation"]
    angles = [[period * k / steps for k in range(steps)] for period in PERIODS]
    turns = [[[round(f(a), 6) for a in row] for row in angles] for f in (math.cos, math.sin)]
    return np.array(turns, np.float32)


def _colours(saturation: float, value: float) -> Floats:
    """Return RGB colours (hues, 3) around the colour circle."""
    count = FACTORS["hue"]
    return np.array([hsv_to_rgb(k / count, saturation, value) for k in range(count)], np.float32)


def _normal_table() -> Floats:
    """Return standard normal quantiles at the centres of 2^16 equal shares, so that random integers look up noise."""
    normal = NormalDist()
    return np.array([round(normal.inv_cdf((k + 0.5) / 2**16), 6) for k in range(2**16)], np.float32)

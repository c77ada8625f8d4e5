"""Scores of planted codes: one unit per factor, then rotated, duplicated, merged and switched off."""

from __future__ import annotations

from itertools import product
from math import log2
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainables.metrics.disentanglement import dci, disentanglement, factorvae, mig

Array = NDArray[Any]
BITS = np.array(list(product([0, 1], repeat=2)))  # every pair once: independent, uniform
A, B = BITS.T
AND = log2(4) - 0.75 * log2(3)  # entropy of a and b, in bits: .8113


def table(count: int = 2000) -> Array:
    """Return three independent factors with 3, 4 and 6 values."""
    return np.random.default_rng(0).integers([3, 4, 6], size=(count, 3))


def planted(factors: Array, noise: float = 0.0) -> Array:
    scaled = (factors - factors.mean(0)) / factors.std(0)
    return scaled + noise * np.random.default_rng(1).normal(size=scaled.shape)


def rotation(dimensions: int, seed: int) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimensions, dimensions)))[0]


def columns(*values: Array) -> Array:
    return np.stack(values, axis=1)


def test_a_code_for_each_factor_scores_one() -> None:
    factors = table()
    silent = np.zeros((len(factors), 2))
    scores = disentanglement(np.hstack([silent, planted(factors)]), factors, seed=0)
    assert list(scores) == ["mig", "factorvae", "dci", "dci_completeness", "dci_informativeness"]
    assert scores["factorvae"] == 1
    assert min(scores.values()) > 0.98


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rotation_hides_the_factors_but_keeps_what_is_known_of_them(seed: int) -> None:
    factors = table()
    z = planted(factors, noise=0.05)
    straight, turned = (disentanglement(codes, factors, seed=0) for codes in (z, z @ rotation(3, seed)))
    assert turned["mig"] < straight["mig"] - 0.3
    assert turned["dci"] < straight["dci"] - 0.3
    assert turned["dci_completeness"] < straight["dci_completeness"] - 0.3
    assert turned["dci_informativeness"] == pytest.approx(straight["dci_informativeness"], abs=0.1)


@pytest.mark.parametrize("dimensions", [1, 4])
def test_constant_codes_score_zero_and_never_nan(dimensions: int) -> None:
    factors = table(600)
    scores = disentanglement(np.full((600, dimensions), 0.3), factors, seed=0)
    chance = scores.pop("dci_informativeness")
    assert set(scores.values()) == {0.0}
    assert chance == pytest.approx((1 / 3 + 1 / 4 + 1 / 6) / 3, abs=0.06)


def test_the_order_of_the_codes_changes_nothing() -> None:
    factors = table()
    z = planted(factors, noise=0.3) @ np.random.default_rng(2).normal(size=(3, 5))
    order = [3, 0, 4, 2, 1]
    assert disentanglement(z[:, order], factors, seed=0) == disentanglement(z, factors, seed=0)


def test_the_order_of_the_rows_does_not_change_mig() -> None:
    factors = table()
    z, order = planted(factors, noise=0.3), np.random.default_rng(3).permutation(len(factors))
    assert mig(z[order], factors[order]) == mig(z, factors)


@pytest.mark.parametrize(
    ("codes", "factors", "expected"),
    [
        pytest.param(columns(A, B), columns(A), 1.0, id="one code is the factor, the other independent"),
        pytest.param(columns(A, A), columns(A), 0.0, id="both codes are the factor"),
        pytest.param(columns(A + B), BITS, 0.5, id="one code: I(a + b; a) = 1/2 bit, and no second"),
        pytest.param(columns(A + B, A), BITS, 0.5, id="gaps 1 - 1/2 and 1/2 - 0"),
        pytest.param(columns(A + B, A), columns(A & B), 1 - (AND - 0.5) / AND, id="I(a; a and b) = H - 1/2"),
        pytest.param(columns(A + 2 * B), columns(A + 2 * B), 1.0, id="four values, one code"),
        pytest.param(
            columns(np.array([0, 1, 100])), columns(np.arange(3)), 1 - 2 / 3 / log2(3), id="0 and 1 share a bin"
        ),
    ],
)
def test_mig_of_a_table_worked_by_hand(codes: Array, factors: Array, expected: float) -> None:
    assert mig(codes.astype(np.float32), factors) == pytest.approx(expected, abs=1e-12)


def test_factorvae_of_one_code_that_follows_a_factor_and_one_that_follows_none() -> None:
    factors = np.random.default_rng(0).integers(4, size=(2000, 2))
    z = planted(np.random.default_rng(5).integers(4, size=(2000, 2)))
    z[:, 0] = planted(factors)[:, 0]
    # the first factor is always found; the second, half the time, looks like the first
    assert factorvae(z, factors, seed=0) == pytest.approx(0.75, abs=0.06)


def test_factorvae_gives_no_vote_to_a_code_that_is_switched_off() -> None:
    factors = table()
    assert factorvae(planted(factors) * 0.06, factors, seed=0) == 1
    assert factorvae(planted(factors) * 0.04, factors, seed=0) == 0


def test_a_second_copy_of_each_code_takes_mig_and_completeness_but_not_the_rest() -> None:
    factors = table()
    scores = disentanglement(np.hstack([planted(factors)] * 2), factors, seed=0)
    assert scores["mig"] == pytest.approx(0, abs=1e-12)
    assert scores["dci_completeness"] < 0.7  # 1 - log 2 / log 6 = .61 where the copies share evenly
    assert scores["factorvae"] == 1
    assert min(scores["dci"], scores["dci_informativeness"]) > 0.98


def test_dci_of_one_code_for_two_factors_and_of_two_codes_for_one() -> None:
    bits = np.tile(BITS, (100, 1))
    both = bits @ [[2], [1]]
    assert dci(both.astype(float), bits, seed=0) == (0, 1, 1)
    split = dci(bits.astype(float), both, seed=0)
    assert split.completeness == pytest.approx(0, abs=0.05)
    assert (split.disentanglement, split.informativeness) == (1, 1)


def test_a_factor_with_one_value_is_skipped() -> None:
    factors = table(600)
    z = planted(factors, noise=0.5)
    with_constant = np.insert(factors, 1, 7, axis=1)
    assert disentanglement(z, with_constant, seed=0) == disentanglement(z, factors, seed=0)
    assert set(disentanglement(z, with_constant[:, 1:2], seed=0).values()) == {0.0}


def test_a_seed_fixes_every_number_and_any_seed_stays_in_range() -> None:
    factors = table(600)
    z = np.random.default_rng(4).normal(size=(600, 4))
    first, again, other = (disentanglement(z, factors, seed=seed) for seed in (0, 0, 2**40))
    assert first == again != other
    assert all(0 <= score <= 1 for score in [*first.values(), *other.values()])
    assert max(first["mig"], first["dci"], other["dci"]) < 0.05


@pytest.mark.parametrize(
    ("codes", "rows", "message"),
    [
        (np.zeros((3, 2)), 4, r"do not fit: \(3, 2\) and \(4, 2\)"),
        (np.zeros((4, 0)), 4, "do not fit"),
        (np.zeros((0, 2)), 0, "do not fit"),
        (np.array([[0.0], [np.nan], [1.0], [2.0]]), 4, "must be finite"),
    ],
)
def test_codes_that_cannot_be_scored_are_refused(codes: Array, rows: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mig(codes, np.resize(BITS, (rows, 2)))

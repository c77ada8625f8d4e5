"""The Langevin step: published optima, divergence, and the exact variance of the samples."""

from __future__ import annotations

from math import inf, isinf, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.ncsn.langevin import anneal, eta_from_step_lr, relax_from_eta, steady_variance_ratio
from trainables.ncsn.langevin_step import eta_from_relax, step_lr_from_eta
from trainables.ncsn.noise_levels import geometric, ratio
from trainables.ncsn.sampling import Schedule, langevin, plan

GAMMA, SIGMA_END = 1.0376, 0.01
RELAX = [2.7, 3.65, 4.45, 5.5, 7.0, 9.4, 12.8, 18.0]
FID = {1: [456, 99, 19.5, 15.6, 18.9, 24.4, 36.7, 57.4], 5: [464, 109, 17.2, 16.9, 17.3]}
"""Of published CIFAR-10 files (AlexiaJM/AdversarialConsistentScoreMatching), by Langevin steps a level, at RELAX."""
PUBLISHED_BEST = {1: 1.7e-5, 5: 4.2e-6}
"""The raw step of the lowest FID in those files."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw(relax: float, steps: int) -> float:
    return step_lr_from_eta(eta_from_relax(relax, GAMMA, steps), SIGMA_END)


def relax_of(step_lr: float, steps: int) -> float:
    return relax_from_eta(eta_from_step_lr(step_lr, SIGMA_END), GAMMA, steps)


@pytest.mark.parametrize("steps", [1, 5])
def test_published_optimum_lies_at_one_relax_whatever_the_number_of_steps(steps: int) -> None:
    assert 4.7 <= RELAX[int(np.argmin(FID[steps]))] <= 6.1
    assert 4.7 <= relax_of(PUBLISHED_BEST[steps], steps) <= 6.1


def test_in_the_raw_step_the_two_optima_are_four_times_apart() -> None:
    best = {steps: raw(RELAX[int(np.argmin(fid))], steps) for steps, fid in FID.items()}
    for steps, step_lr in best.items():
        assert step_lr == pytest.approx(PUBLISHED_BEST[steps], rel=0.1)
    assert best[1] / best[5] == pytest.approx(1.7e-5 / 4.2e-6, rel=0.2)
    # the step that is best at 5 steps a level, taken at 1, is where the published FID is in the hundreds
    assert relax_of(best[5], 1) < RELAX[0]


def test_both_tables_blow_up_together_where_relax_is_small() -> None:
    for steps, fid in FID.items():
        assert fid[0] > 400
        assert steady_variance_ratio(eta_from_relax(RELAX[0], GAMMA, steps), GAMMA, steps) > 1.5


@pytest.mark.parametrize(
    ("begin", "levels", "steps", "step_lr"),
    [(50, 232, 5, 6.183e-6), (90, 500, 5, 3.34e-6), (190, 1086, 3, 1.77e-6), (348, 2311, 3, 8.93e-7)],
    ids=["cifar10", "celeba", "bedroom", "ffhq"],
)
def test_steps_of_ncsnv2_follow_from_its_formula(begin: float, levels: int, steps: int, step_lr: float) -> None:
    """Bring s_T^2 / sigma_i^2 = (1 - eta)^2T (gamma^2 - b) + b nearest to 1, with b = 1 / (1 - eta / 2)."""
    gamma, eta = ratio(geometric(begin, SIGMA_END, levels)), np.geomspace(1e-3, 0.5, 200_000)
    b = 1 / (1 - eta / 2)
    best = float(eta[np.abs((1 - eta) ** (2 * steps) * (gamma**2 - b) + b - 1).argmin()])
    assert step_lr_from_eta(best, SIGMA_END) == pytest.approx(step_lr, rel=2e-3)
    assert 5.5 < relax_from_eta(best, gamma, steps) < 10


# where it diverges


@pytest.mark.parametrize("steps", [1, 5, 100])
def test_a_chain_that_relaxes_no_faster_than_the_levels_fall_diverges(steps: int) -> None:
    for relax in (0.3, 0.9, 0.9999):
        assert isinf(steady_variance_ratio(eta_from_relax(relax, GAMMA, steps), GAMMA, steps))
    near = [steady_variance_ratio(eta_from_relax(relax, GAMMA, steps), GAMMA, steps) for relax in (1.01, 1.5, 3.0, 6.0)]
    assert inf > near[0] > 50
    assert near == sorted(near, reverse=True)


def of_a_point(x: Tensor, sigma: Tensor) -> Tensor:
    return -x / sigma**2  # all images are 0


@pytest.mark.parametrize(("relax", "steps"), [(1.5, 1), (2.0, 1), (2.0, 5), (5.4, 1), (5.4, 5), (12.0, 2)])
def test_a_long_chain_settles_at_the_steady_variance(relax: float, steps: int) -> None:
    sigmas = geometric(100.0, 0.01, 250)
    x = anneal(of_a_point, shape=(20_000, 1), sigmas=sigmas, step_size=relax, steps=steps, generator=seeded(0))
    gamma = ratio(sigmas)
    expected = steady_variance_ratio(eta_from_relax(relax, gamma, steps), gamma, steps)
    assert float(x.var()) / sigmas[-1] ** 2 == pytest.approx(expected, rel=0.04)


def test_below_relax_one_more_levels_are_no_help() -> None:
    found = []
    for decades in (1, 2, 3):
        sigmas = geometric(0.01 * 10**decades, 0.01, 60 * decades + 1)
        x = anneal(of_a_point, shape=(2000, 1), sigmas=sigmas, step_size=0.7, steps=1, generator=seeded(0))
        found.append(float(x.std()) / sigmas[-1])
    assert found[1] > 1.5 * found[0]
    assert found[2] > 1.5 * found[1]


# the exact variance


LAM = torch.tensor([9.0, 1.0, 0.06, 0.004, 1e-4])


def exact(x: Tensor, sigma: Tensor) -> Tensor:
    return -x / (LAM + sigma**2)


def recursion(schedule: Schedule, start: float) -> Tensor:
    """Return the variance after v <- (1 - a / (lam + sigma^2))^2 v + 2 a for each step, and the final denoising."""
    lam, last = LAM.double(), schedule.sigmas[-1]
    v = torch.full_like(lam, start)
    for index, sigma in enumerate(schedule.sigmas):
        steps, step_lr = schedule.at(index)
        a = step_lr * (sigma / last) ** 2
        for _ in range(steps):
            v = (1 - a / (lam + sigma**2)) ** 2 * v + 2 * a
    return v * (lam / (lam + last**2)) ** 2 if schedule.denoise else v


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize(("nfe", "levels", "relax"), [(41, 40, 2.0), (100, 10, 5.0), (60, 200, 8.0), (121, 60, 15.0)])
def test_what_a_planned_chain_draws_has_the_exact_variance(nfe: int, levels: int, relax: float, denoise: bool) -> None:
    schedule = plan(geometric(5.0, 0.01, levels), nfe=nfe, step_size=relax, denoise=denoise, ladder="own")
    start = schedule.sigmas[0] * torch.randn(20_000, len(LAM), generator=seeded(1))
    x = langevin(exact, start, schedule, seeded(2))
    v = recursion(schedule, schedule.sigmas[0] ** 2)
    assert x.double().var(0).tolist() == pytest.approx(v.tolist(), rel=0.04)
    frechet = float((v.sqrt() - LAM.double().sqrt()).square().sum())
    drawn = float((x.double().std(0) - LAM.double().sqrt()).square().sum())
    assert sqrt(drawn) == pytest.approx(sqrt(frechet), abs=0.05)


def test_with_a_perfect_score_a_larger_step_is_always_better() -> None:
    """Theory has no optimum below divergence, so the step is searched with trained networks."""

    def frechet(eta: float) -> float:
        schedule = Schedule(geometric(5.0, 0.01, 60), 1, step_lr_from_eta(eta, 0.01), denoise=True)
        return float((recursion(schedule, 25.0).sqrt() - LAM.double().sqrt()).square().sum())

    found = [frechet(eta) for eta in (0.05, 0.15, 0.3, 0.6)]
    assert found == sorted(found, reverse=True)

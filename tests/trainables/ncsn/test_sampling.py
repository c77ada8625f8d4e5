from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.trainables.ncsn.langevin import anneal, relax_from_eta
from trainables.ncsn.langevin_step import eta_from_relax
from trainables.ncsn.noise_levels import geometric, ratio
from trainables.ncsn.sampling import Schedule, langevin, plan


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(x: Tensor, sigma: Tensor) -> Tensor:
    return -x / (1 + sigma**2)  # score of N(0, 1) blurred by sigma


@pytest.mark.parametrize("step_size", [3.0, 6.0, 20.0])
def test_langevin_on_a_gaussian_overshoots_by_the_known_factor(step_size: float) -> None:
    sigmas = geometric(10, 0.01, 50)
    x = anneal(exact, shape=(20_000, 1), sigmas=sigmas, step_size=step_size, steps=5, generator=seeded(0))
    assert x.std() == pytest.approx(sqrt(step_size / (step_size - 1)), rel=0.03)


@pytest.mark.parametrize(("eta", "variance"), [(0.05, 1.0256), (0.2, 1.1111), (0.5, 1.3333), (1.0, 2.0)])
def test_long_chain_at_one_level_settles_at_the_known_variance(eta: float, variance: float) -> None:
    s = 0.3
    schedule = Schedule(sigmas=[s], steps=200, step_lr=eta * s**2)
    x = langevin(lambda x, _: -x / s**2, torch.zeros(40_000, 1), schedule, seeded(0))
    assert x.var() == pytest.approx(variance * s**2, rel=0.03)


@pytest.mark.parametrize("denoise", [False, True])
def test_annealed_variance_follows_the_exact_recursion(denoise: bool) -> None:
    lam, sigmas, steps, step_lr = 0.25, geometric(2, 0.1, 10), 3, 0.004
    v = 1.0
    for sigma in sigmas:
        a = step_lr * (sigma / sigmas[-1]) ** 2
        for _ in range(steps):
            v = (1 - a / (lam + sigma**2)) ** 2 * v + 2 * a
    v *= (lam / (lam + sigmas[-1] ** 2)) ** 2 if denoise else 1
    start = torch.randn(40_000, 1, generator=seeded(1))
    schedule = Schedule(sigmas, steps, step_lr, denoise)
    x = langevin(lambda x, sigma: -x / (lam + sigma**2), start, schedule, seeded(0))
    assert x.var() == pytest.approx(v, rel=0.03)


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 10, 50, 99, 100, 101, 232, 1000])
@pytest.mark.parametrize("nfe", [1, 2, 40, 100])
def test_a_chain_costs_what_its_budget_allows_and_no_more(nfe: int, levels: int, denoise: bool) -> None:
    trained = geometric(1.0, 0.01, levels)
    schedule = plan(trained, nfe=nfe, step_size=5, denoise=denoise)
    calls = 0

    def count(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        assert sigma.flatten()[0] in torch.tensor(trained)
        return torch.zeros_like(x)

    langevin(count, torch.zeros(2, 1), schedule, seeded(0))
    assert calls == schedule.nfe <= nfe
    assert schedule.nfe > nfe / 2 - 1
    assert schedule.sigmas[-1] == 0.01
    if len(schedule.sigmas) > 1:
        assert schedule.sigmas[0] == 1.0


def test_thinned_levels_get_a_step_for_their_own_ratio() -> None:
    schedule = plan(geometric(50, 0.01, 232), nfe=100, step_size=5, denoise=True)
    assert (len(schedule.sigmas), schedule.steps) == (78, 1)
    gamma = (50 / 0.01) ** (1 / 77)
    assert relax_from_eta(schedule.step_lr / 0.01**2, gamma, 1) == pytest.approx(5)


def test_raw_step_and_steps_a_level_override_step_size_and_budget() -> None:
    trained = geometric(1, 0.01, 50)
    schedule = plan(trained, nfe=100, step_size=5, step_lr=2e-5, steps_per_level=7, denoise=True)
    assert (schedule.step_lr, schedule.steps, schedule.nfe) == (2e-5, 7, 351)
    relaxed = plan(trained, nfe=100, step_size=5, steps_per_level=7)
    assert relaxed.step_lr == pytest.approx(eta_from_relax(5, ratio(trained), 7) * 0.01**2)


def test_our_step_is_twice_the_step_of_the_papers_convention() -> None:
    sigmas, a = [0.5, 0.1], 0.002
    generator, x = seeded(3), torch.ones(5, 1)
    for sigma in sigmas:  # Algorithm 1 of the paper: x += alpha / 2 s + sqrt(alpha) z
        alpha = 2 * a * (sigma / sigmas[-1]) ** 2
        x = x + alpha / 2 * exact(x, torch.tensor(sigma)) + sqrt(alpha) * torch.randn(5, 1, generator=generator)
    ours = langevin(exact, torch.ones(5, 1), Schedule(sigmas, 1, a), seeded(3))
    assert torch.allclose(ours, x, atol=1e-6)

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.trainables.ncsn.langevin import anneal, relax_from_eta
from trainables.ncsn.langevin_step import eta_from_relax
from trainables.ncsn.loss import ScoreNet
from trainables.ncsn.noise_levels import geometric, ratio
from trainables.ncsn.probability_flow import plan_flow, solve
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


@pytest.mark.parametrize("ladder", ["free", "own"])
@pytest.mark.parametrize("nfe", [1, 2, 15, 16, 30, 40, 100, 250])
def test_every_chain_uses_the_whole_budget(nfe: int, ladder: str) -> None:
    for levels in (1, 2, 10, 16, 29, 30, 31, 49, 50, 51, 99, 100, 101, 232, 1000):
        trained = geometric(1.0, 0.01, levels)
        for denoise in (False, True):
            schedule = plan(trained, nfe=nfe, step_size=5, denoise=denoise, ladder=ladder)
            seen = calls(schedule)
            assert len(seen) == schedule.nfe == nfe, (levels, denoise)
            assert seen == sorted(seen, reverse=True)
            assert schedule.sigmas[-1] == 0.01
            assert len(schedule.sigmas) == 1 or schedule.sigmas[0] == 1.0
            if ladder == "own":
                assert set(schedule.sigmas) <= set(trained)
                steps = [schedule.at(index)[0] for index in range(len(schedule.sigmas))]
                assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize("ladder", ["free", "own"])
@pytest.mark.parametrize("denoise", [False, True])
def test_no_number_of_levels_wastes_the_budget(ladder: str, denoise: bool) -> None:
    for nfe in range(1, 65):
        for levels in range(1, 130):
            schedule = plan(geometric(1.0, 0.01, levels), nfe=nfe, step_size=5, denoise=denoise, ladder=ladder)
            assert 0.97 * nfe <= schedule.nfe <= nfe, (levels, nfe)


@pytest.mark.parametrize("nfe", [1, 2, 15, 16, 30, 100])
@pytest.mark.parametrize("denoise", [False, True])
def test_the_ode_uses_the_whole_budget(nfe: int, denoise: bool) -> None:
    flow = plan_flow(1.0, 0.01, nfe=nfe, denoise=denoise)
    seen: list[float] = []
    solve(recorder(seen), torch.zeros(2, 1), flow)
    assert len(seen) == flow.nfe == nfe
    assert seen[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("levels", "nfe"), [(30, 30), (50, 100), (10, 30), (60, 40)])
def test_a_uniform_ladder_takes_equal_steps_as_version_0_1_did(levels: int, nfe: int) -> None:
    schedule = plan(geometric(1.0, 0.01, levels), nfe=nfe, step_size=5, ladder="uniform")
    expected = {(30, 30): (15, 1), (50, 100): (50, 1), (10, 30): (10, 2), (60, 40): (30, 1)}[levels, nfe]
    assert (len(schedule.sigmas), schedule.steps) == expected
    assert schedule.spare == 0


def calls(schedule: Schedule) -> list[float]:
    """Return the noise level of each network evaluation of a chain."""
    seen: list[float] = []
    langevin(recorder(seen), torch.zeros(2, 1), schedule, seeded(0))
    return seen


def recorder(seen: list[float]) -> ScoreNet:
    def score(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(float(sigma.flatten()[0]))
        return torch.zeros_like(x)

    return score


def test_a_level_with_one_step_more_relaxes_as_much_in_smaller_steps() -> None:
    schedule = plan(geometric(1.0, 0.01, 10), nfe=26, step_size=5, ladder="own", denoise=True)
    assert (schedule.steps, schedule.spare) == (2, 5)
    gamma = 100 ** (1 / 9)
    for index in range(10):
        steps, step_lr = schedule.at(index)
        assert relax_from_eta(step_lr / 0.01**2, gamma, steps) == pytest.approx(5)
    assert sum(schedule.at(index)[0] == 3 for index in range(10)) == 5


def test_thinned_levels_get_a_step_for_their_own_ratio() -> None:
    schedule = plan(geometric(50, 0.01, 232), nfe=100, step_size=5, ladder="own", denoise=True)
    assert (len(schedule.sigmas), schedule.steps) == (99, 1)
    gamma = (50 / 0.01) ** (1 / 98)
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


MEANS = torch.tensor([-1.0, 1.0])
WIDTH = 0.2


def mixture(x: Tensor, sigma: Tensor) -> Tensor:
    """Return the exact score of two Gaussians of equal weight, blurred by sigma."""
    variance = WIDTH**2 + sigma**2
    weights = torch.softmax(-((x - MEANS) ** 2) / (2 * variance), dim=1)
    return ((MEANS - x) / variance * weights).sum(1, keepdim=True)


@pytest.mark.parametrize("nfe", [35, 79])
def test_the_ode_draws_from_an_exact_mixture_of_gaussians(nfe: int) -> None:
    start = 40 * torch.randn(40_000, 1, generator=seeded(4))
    x = solve(mixture, start, plan_flow(40.0, 0.002, nfe=nfe, denoise=True))
    right = x[x > 0]
    assert len(right) / len(x) == pytest.approx(0.5, abs=0.02)
    assert right.mean() == pytest.approx(1.0, abs=0.02)
    assert right.std() == pytest.approx(WIDTH, rel=0.05)


def test_heuns_method_has_second_order() -> None:
    """Halving the steps divides the error by about 4. Euler's method would divide it by 2."""
    x = torch.full((1, 1), 3.0)

    def error(nfe: int) -> float:
        end = solve(exact, x, plan_flow(1.0, 0.1, nfe=nfe, denoise=False))
        return abs(float(end) - 3.0 * ((1 + 0.1**2) / (1 + 1.0**2)) ** 0.5)

    assert 3.3 < error(16) / error(32) < 4.7

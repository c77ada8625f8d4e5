"""The number of trials that fit, and the share of a GPU that is enough."""

from __future__ import annotations

import pytest

from tune_app.cluster.slots import CONTEXT_GB, MARGIN, SHARES, described, share, slots
from tune_app.config.schema import ResourcesConfig

BIG = {"CPU": 64.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("gpu", "fitting"),
    [(0.25, 16), (0.5, 8), (1.0, 4), (2.0, 2), (3.0, 1), (5.0, 0), (0.4, 8), (0.3, 12), (0.0, 32), (0.6, 4)],
)
def test_shares_are_packed_on_each_gpu_and_never_spread_over_two(gpu: float, fitting: int) -> None:
    assert slots(ResourcesConfig(cpu=2, gpu=gpu), BIG) == fitting


@pytest.mark.parametrize("share", SHARES)
def test_as_many_of_a_share_fit_on_a_gpu_as_its_name_says_by_rays_own_rounding(share: float) -> None:
    count = slots(ResourcesConfig(cpu=0.1, gpu=share), {"CPU": 8.0, "GPU": 1.0})
    assert count == round(1 / share)
    assert count * round(share * 10_000) <= 10_000


def test_a_share_that_ray_rounds_up_packs_one_less() -> None:
    assert slots(ResourcesConfig(cpu=1, gpu=1 / 6), BIG) == 4 * 5


def test_the_scarcer_of_cpus_and_gpus_decides_and_nodes_without_gpus_count_for_nothing() -> None:
    resources = ResourcesConfig(cpu=4, gpu=0.25)
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0, "GPU": 1.0}, {"CPU": 64.0}, {"memory": 1e9}]
    assert [slots(resources, node) for node in nodes] == [2, 4, 0, 0]


@pytest.mark.parametrize(
    ("need", "total", "enough"),
    [
        (0.1, 80, 1 / 8),
        (8.5, 80, 1 / 8),  # 8.5 x 1.1 + 0.6 = 9.95 of 10
        (8.6, 80, 1 / 6),
        (11.5, 80, 1 / 6),
        (13.9, 80, 1 / 5),
        (17.0, 80, 1 / 4),
        (20.0, 80, 1 / 3),
        (30.0, 80, 1 / 2),
        (40.0, 80, 1),
        (72.1, 80, 1),
        (73.0, 80, None),
        (10.0, 11, None),
    ],
)
def test_the_smallest_share_that_holds_a_trial_and_its_reserve(need: float, total: float, enough: float | None) -> None:
    found = share(need, total)
    assert found == (None if enough is None else pytest.approx(enough, abs=1e-4))
    if found is not None:
        assert round(1 / found) * (need * MARGIN + CONTEXT_GB) <= total


def test_nodes_are_told_in_words() -> None:
    assert described([BIG]) == "64 CPUs and 4 GPUs"
    assert described([BIG, {"CPU": 2.0}, BIG]) == "2 x 64 CPUs and 4 GPUs, 1 x 2 CPUs and 0 GPUs"
    assert described([]) == "no node"

"""The values that a rung records of a sampling setting: the raw step and the dimensionless one."""

from __future__ import annotations

from math import exp, log

import pytest

from trainables.catalog import MODELS
from trainables.ncsn.task import Ncsn


def test_the_raw_step_that_follows_from_a_step_size_is_recorded() -> None:
    known = MODELS["ncsn"].parameters
    params = {name: item.default for name, item in known.items() if item.stage == "training"}
    model = Ncsn({**params, "width": 8, "num_scales": 10}, mean=0.5, variance=0.06, shape=(3, 16, 16))
    found = model.settled({"step_size": 3.0, "ladder": "own"}, nfe=41)
    gamma, steps = (1.0 / 0.01) ** (1 / 9), 4
    assert found["steps_per_level"] == steps
    assert (found["nfe"], found["levels"], found["ladder"]) == (10 * steps + 1, 10, "own")
    assert found["step_lr"] == pytest.approx((1 - exp(-3.0 * log(gamma) / steps)) * 0.01**2)


@pytest.mark.parametrize(("arch", "conditioning", "ladder"), [("unet", "log_sigma", "free"), ("unet", "sigma", "own"),
                                                              ("refinenet", "log_sigma", "own")])  # fmt: skip
def test_a_network_that_knows_only_its_trained_levels_keeps_them(arch: str, conditioning: str, ladder: str) -> None:
    known = MODELS["ncsn"].parameters
    params = {name: item.default for name, item in known.items() if item.stage == "training"}
    few = {"width": 8, "num_scales": 10, "arch": arch, "conditioning": conditioning}
    model = Ncsn({**params, **few}, mean=0.5, variance=0.06, shape=(3, 16, 16))
    found = model.settled({"step_size": 3.0, "ladder": "free"}, nfe=30)
    assert (found["ladder"], found["nfe"]) == (ladder, 30)
    assert found["levels"] == (29 if ladder == "free" else 10)
    assert model.settled({"sampler": "heun"}, nfe=30)["nfe"] == 30

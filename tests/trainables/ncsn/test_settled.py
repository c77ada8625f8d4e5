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
    found = model.settled({"step_size": 3.0}, nfe=41)
    gamma, steps = (1.0 / 0.01) ** (1 / 9), 4
    assert found["steps_per_level"] == steps
    assert found["nfe"] == 10 * steps + 1
    assert found["step_lr"] == pytest.approx((1 - exp(-3.0 * log(gamma) / steps)) * 0.01**2)

"""Points that a person gives by hand are checked against the search space."""

from __future__ import annotations

import pytest

from tune_app.config.load import load
from tune_app.config.point import parse_point
from tune_app.config.schema import SweepConfig
from tune_app.errors import ConfigError

GROUPS = "{type: int, low: 4, high: 32, step: 4, when: {arch: unet}}"


@pytest.fixture
def config() -> SweepConfig:
    arch = {"fixed.arch": "null", "parameters.arch": "{type: categorical, choices: [unet, refinenet]}"}
    changes = {**arch, "fixed.groups": "null", "parameters.groups": GROUPS}
    return load("ncsn_space.yaml", profile="laptop", set=changes)


def test_a_point_inside_the_space_is_read_as_yaml(config: SweepConfig) -> None:
    given = {"sigma_begin": "5.0", "arch": "unet", "groups": "8"}
    assert parse_point(config, given) == {"sigma_begin": 5.0, "arch": "unet", "groups": 8}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sigma_bgin": "5"}, "ncsn has no parameter of that name\n  hint: did you mean sigma_begin?"),
        ({"sigma_begin": "5000"}, r"--set sigma_begin=5000: sigma_begin must lie in \[1, 5\], not 5000"),
        ({"sigma_begin": "wide"}, "sigma_begin must be a number, not 'wide'"),
        ({"sigma_begin": "null"}, "sigma_begin must be a number, a string, true or false, not None"),
        ({"arch": "vit"}, "arch must be one of unet, refinenet, not vit"),
        ({"arch": "unet", "groups": "7"}, "groups must be 4 plus a multiple of 4, not 7"),
        ({"arch": "refinenet", "groups": "8"}, "groups is searched only when arch is unet, not refinenet"),
        ({"groups": "8"}, "groups is searched only when arch is unet: also give --set arch="),
        ({"batch_size": "8"}, "batch_size is not searched: it is [0-9]+ in every trial of this sweep"),
        ({"step_size": "8"}, "step_size is searched inside every evaluation, so a point cannot set it"),
    ],
)
def test_a_point_outside_the_space_is_refused(given: dict[str, str], said: str, config: SweepConfig) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_point(config, given)


def test_every_problem_of_a_point_is_named_at_once(config: SweepConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_point(config, {"sigma_begin": "5000", "arch": "vit"})
    assert len(caught.value.problems) == 2

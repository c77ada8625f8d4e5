"""Stages, conditions and grids of a space."""

from __future__ import annotations

import pytest
from hypothesis import given

from search_spaces.distributions import Categorical, Distribution, Float, Int, SpaceError
from search_spaces.space import Space
from tests.search_spaces.spaces import spaces

ARCH = Categorical(choices=("unet", "refinenet"))
GROUPS = Int(low=4, high=12, step=4, when={"arch": "unet"})
STEP = Float(low=1.5, high=8.0, log=True, stage="sampling")


def test_midpoints_lie_at_the_middles_of_equal_parts_on_the_parameters_scale() -> None:
    assert Float(low=0, high=3).midpoints(3) == [0.5, 1.5, 2.5]
    assert Float(low=1, high=1e4, log=True).midpoints(2) == pytest.approx([10, 1000])
    assert Int(low=0, high=2).midpoints(9) == [0, 1, 2]
    assert Float(low=0, high=1, step=0.5).midpoints(5) == [0, 0.5, 1]
    assert ARCH.midpoints(1) == ["unet", "refinenet"]


def test_values_are_those_of_a_grid() -> None:
    assert Float(low=0.1, high=0.5, step=0.1).values() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert GROUPS.values() == [4, 8, 12]
    with pytest.raises(SpaceError, match="needs `step`"):
        Float(low=0, high=1).values()


def test_children_come_after_their_parents_whatever_the_order_of_the_file() -> None:
    assert Space({"groups": GROUPS, "arch": ARCH}).order == ("arch", "groups")


def test_stages_split_the_space() -> None:
    space = Space({"step_size": STEP, "arch": ARCH})
    assert list(space.training) == ["arch"]
    assert list(space.sampling) == ["step_size"]
    assert space.grid() == [{"arch": "unet"}, {"arch": "refinenet"}]
    assert [setting["step_size"] for setting in space.sampling_grid(3)] == pytest.approx([1.98, 3.46, 6.06], rel=0.01)
    assert Space({"arch": ARCH}).sampling_grid(3) == [{}]


def test_a_grid_has_a_point_for_every_meaningful_combination_once() -> None:
    assert Space({"groups": GROUPS, "arch": ARCH}).grid() == [
        {"arch": "unet", "groups": 4},
        {"arch": "unet", "groups": 8},
        {"arch": "unet", "groups": 12},
        {"arch": "refinenet"},
    ]


def test_a_sampling_parameter_may_wait_for_a_training_one() -> None:
    step = STEP.model_copy(update={"when": {"arch": ("unet",)}})
    space = Space({"arch": ARCH, "step_size": step})
    assert space.sampling_grid(2, {"arch": "refinenet"}) == [{}]
    assert len(space.sampling_grid(2, {"arch": "unet"})) == 2


def test_a_condition_may_name_a_fixed_value() -> None:
    assert Space({"groups": GROUPS}, fixed={"arch": "unet"}).grid() == [{"groups": n} for n in (4, 8, 12)]
    with pytest.raises(SpaceError, match="is never searched"):
        Space({"groups": GROUPS}, fixed={"arch": "refinenet"})


def test_a_grandchild_of_an_inactive_parameter_is_inactive() -> None:
    space = Space({"arch": ARCH, "groups": GROUPS, "clip": Float(low=0, high=1, when={"groups": 4})})
    assert space.active("clip", {"arch": "unet", "groups": 4})
    assert not space.active("clip", {"arch": "refinenet", "groups": 4})
    assert not space.active("clip", {"arch": "unet"})


@pytest.mark.parametrize(
    ("parameters", "culprit", "words"),
    [
        ({"a": Int(low=1, high=2, when={"b": 1})}, "a", "neither searched nor fixed"),
        ({"a": Int(low=1, high=2, when={"a": 1})}, "a", "circle: a -> a"),
        ({"a": Int(low=1, high=2), "b": Int(low=1, high=2, when={"a": [1, 3]})}, "b", r"a must lie in \[1, 2\], not 3"),
        ({"a": STEP, "b": Int(low=1, high=2, when={"a": 2.0})}, "b", "sampling stage"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(parameters: dict[str, Distribution], culprit: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words) as caught:
        Space(parameters)
    assert caught.value.parameter == culprit


def test_too_large_a_grid_is_refused_before_it_is_made() -> None:
    with pytest.raises(SpaceError, match="more than 10000"):
        Space({name: Int(low=1, high=9_999) for name in "abcdef"}).grid()
    with pytest.raises(SpaceError, match="too many for a grid"):
        Int(low=1, high=10**15).values()
    with pytest.raises(SpaceError, match="more than 27"):
        Space(dict.fromkeys("abcd", STEP)).sampling_grid(3)


@given(space=spaces())
def test_parents_always_come_first(space: Space) -> None:
    for name in space.order:
        assert all(space.order.index(parent) < space.order.index(name) for parent in space.parameters[name].when)

"""Baselines outside the search space: they change parameters that the sweep does not search."""

from collections.abc import Mapping

from search_spaces.distributions import Scalar, same


def other_values(params: Mapping[str, Scalar], constants: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the values of a trial that differ from the sweep's values of parameters that are not searched."""
    return {name: value for name, value in params.items() if name in constants and not same(value, constants[name])}


def lies_elsewhere(params: Mapping[str, Scalar], constants: Mapping[str, Scalar]) -> bool:
    """Return True if the trial tells nothing about the search space, because other parameters differ as well."""
    return bool(other_values(params, constants))

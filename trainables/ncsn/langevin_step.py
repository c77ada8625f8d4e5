"""The step of annealed Langevin dynamics, converted from the dimensionless `relax` to the raw step.

The convention is x += a s + sqrt(2 a) z with a = step_lr (sigma_i / sigma_L)^2 at level i. `relax` is the parameter
`step_size` of the search.
"""

from math import exp, log


def eta_from_relax(relax: float, gamma: float, steps: int) -> float:
    """Return eta = 1 - exp(-relax ln(gamma) / T) for T steps per level.

    With relax above 1, a chain keeps up with the annealing.
    """
    return 1 - exp(-relax * log(gamma) / steps)


def step_lr_from_eta(eta: float, sigma_end: float) -> float:
    """Return step_lr = eta sigma_L^2, the raw step at the last level."""
    return eta * sigma_end**2

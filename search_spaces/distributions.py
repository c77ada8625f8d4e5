"""The distributions of a parameter: a float, an integer, or one of several choices."""

from decimal import Decimal
from math import exp, isfinite, log
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

Scalar = bool | int | float | str
MOST_VALUES = 10_000
"""The longest list of values that a grid is made of."""
T = TypeVar("T", bound=Scalar)


class SpaceError(ValueError):
    """The space cannot be searched. `parameter` names the cause."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


def same(a: Scalar, b: Scalar) -> bool:
    """Return True if two values are equal and both or neither are booleans, because `true == 1`."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _plain(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a number, a text, true or false, not {_kind(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"must be finite, not {value}")
    return value


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", tuple: "a list", type(None): "null"}.get(type(value), repr(value))


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _one_or_several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Plain = Annotated[bool | int | float | str, BeforeValidator(_plain, json_schema_input_type=Scalar)]
Choices = Annotated[tuple[Plain, ...], BeforeValidator(_several, json_schema_input_type=list[Scalar])]
Allowed = Annotated[
    tuple[Plain, ...],
    BeforeValidator(_one_or_several, json_schema_input_type=bool | int | float | str | list[Scalar]),
    Field(min_length=1),
]


class _Searched(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    type: str
    """float, int or categorical."""
    stage: Literal["training", "sampling"] = "training"
    """A `sampling` parameter does not change the weights, so each evaluation searches it without more training."""
    when: dict[str, Allowed] = Field(default_factory=dict)
    """Searched only while these other parameters have these values, or one of a list of values."""


class Float(_Searched):
    """A number between two bounds, both included."""

    type: Literal["float"] = "float"
    """A number between two bounds."""
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Uniform in the logarithm, so that 1 to 10 is as likely as 10 to 100."""
    step: float | None = Field(default=None, gt=0)
    """Only low, low + step, low + 2 step and so on."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        _check_order(self.low, self.high)
        if not isfinite(self.high - self.low):
            raise ValueError(f"low ({self.low:g}) to high ({self.high:g}) is too wide")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low ({self.low:g}) above 0")
        if self.step is not None:
            _check_step(self.low, self.high, self.step, log=self.log)
        return self

    def complaint(self, value: Scalar) -> str | None:
        """Return why `value` is not in the range, or None."""
        if isinstance(value, bool | str) or not isfinite(value):
            return f"must be a number, not {value!r}"
        off_step = None if self.step is None else _between_steps(value, self.low, self.step)
        return _outside(value, self.low, self.high) or off_step

    def midpoints(self, k: int) -> list[float]:
        """Return the middles of k equal parts of the range, on its own scale."""
        points = _spread(self.low, self.high, k, log_scale=self.log)
        if self.step is not None:
            steps = [round((point - self.low) / self.step) for point in points]
            points = [_stepped(self.low, i, self.step) for i in steps]
        return _distinct([min(max(point, self.low), self.high) for point in points])

    def values(self) -> list[float]:
        """Return every value, for a grid."""
        if self.step is None:
            raise SpaceError("a grid needs `step` for a float, or `type: categorical` with the values wanted")
        count = round((self.high - self.low) / self.step) + 1
        _check_count(count)
        return [min(_stepped(self.low, i, self.step), self.high) for i in range(count)]


class Int(_Searched):
    """An integer between two bounds, both included."""

    type: Literal["int"] = "int"
    """A whole number between two bounds."""
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Uniform in the logarithm, so that 1 to 10 is as likely as 10 to 100."""
    step: int = Field(default=1, ge=1)
    """Only low, low + step, low + 2 step and so on."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        _check_order(self.low, self.high)
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low ({self.low}) above 0")
        if self.step != 1:
            _check_step(self.low, self.high, self.step, log=self.log)
        return self

    def complaint(self, value: Scalar) -> str | None:
        """Return why `value` is not in the range, or None."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, not {value!r}"
        return _outside(value, self.low, self.high) or _between_steps(value, self.low, self.step)

    def midpoints(self, k: int) -> list[int]:
        """Return the middles of k equal parts of the range, on its own scale and rounded to the steps."""
        points = _spread(self.low, self.high, k, log_scale=self.log)
        steps = [round((point - self.low) / self.step) for point in points]
        return _distinct([min(max(self.low + i * self.step, self.low), self.high) for i in steps])

    def values(self) -> list[int]:
        """Return every value, for a grid."""
        _check_count((self.high - self.low) // self.step + 1)
        return list(range(self.low, self.high + 1, self.step))


class Categorical(_Searched):
    """One of several values without order."""

    type: Literal["categorical"] = "categorical"
    """One of some values without order."""
    choices: Choices = Field(min_length=1)
    """The values."""

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        for i, choice in enumerate(self.choices):
            if choice in self.choices[:i]:  # Optuna takes 1, 1.0 and true for the same choice
                raise ValueError(f"choices holds {choice!r} twice")
        return self

    def complaint(self, value: Scalar) -> str | None:
        """Return why `value` is not among the choices, or None."""
        if any(same(value, choice) for choice in self.choices):
            return None
        return f"must be one of {', '.join(map(str, self.choices))}, not {value}"

    def midpoints(self, k: int) -> list[Scalar]:  # noqa: ARG002 (the other two need it)
        """Return every choice, because choices have no middle."""
        return list(self.choices)

    def values(self) -> list[Scalar]:
        """Return every choice."""
        return list(self.choices)


Distribution = Annotated[Float | Int | Categorical, Field(discriminator="type")]


def _check_order(low: float, high: float) -> None:
    if high <= low:
        raise ValueError(f"high ({high:g}) must be above low ({low:g})")


def _check_step(low: float, high: float, step: float, *, log: bool) -> None:
    if log:
        raise ValueError(f"log and step ({step:g}) exclude each other; choose one")
    parts = (Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step))
    if parts != round(parts):
        nearest = _stepped(low, max(1, round(parts)), step)
        raise ValueError(
            f"step ({step:g}) must divide high - low ({high:g} - {low:g}); the nearest high is {nearest:g}"
        )


def _check_count(count: int) -> None:
    if count > MOST_VALUES:
        raise SpaceError(f"{count} values are too many for a grid, which takes {MOST_VALUES}")


def _outside(value: float, low: float, high: float) -> str | None:
    return None if low <= value <= high else f"must lie in [{low:g}, {high:g}], not {value:g}"


def _between_steps(value: float, low: float, step: float) -> str | None:
    parts = (value - low) / step
    return None if abs(parts - round(parts)) < 1e-6 else f"must be {low:g} plus a multiple of {step:g}, not {value:g}"


def _stepped(low: float, i: int, step: float) -> float:
    return float(Decimal(repr(low)) + i * Decimal(repr(step)))  # in decimals: 0.1 + 2 * 0.1 is 0.3


def _spread(low: float, high: float, k: int, *, log_scale: bool) -> list[float]:
    if log_scale:
        return [exp(point) for point in _spread(log(low), log(high), k, log_scale=False)]
    return [low + (high - low) * (i + 0.5) / k for i in range(k)]


def _distinct(values: list[T]) -> list[T]:
    return list(dict.fromkeys(values))

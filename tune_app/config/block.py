"""The base of every block of a space file."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A block of the file. It is frozen, refuses unknown keys, and does not convert strings to numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

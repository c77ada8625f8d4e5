"""The block `retraining`, which `tune_app retrain` writes."""

from pydantic import Field

from tune_app.config.block import Block


class Promise(Block):
    """Value of a metric that a sweep measured on held-out images."""

    value: float
    """The value."""
    stderr: float | None
    """Its standard error, null if it is not known."""


class RetrainedSetting(Block):
    """A setting of a sweep that is trained again."""

    name: str = Field(min_length=1)
    """Name in the answer, such as winner."""
    trial: str = Field(pattern=r"^[0-9]{4,9}$")
    """The sweep's trial with this setting."""
    baseline: bool
    """True if the sweep lists the setting as a baseline."""
    promised: dict[str, Promise]
    """Values that the sweep measured, by objective. Empty if it did not train the setting to the end."""


class RetrainingConfig(Block):
    """The sweep whose settings an experiment trains again, on the held-out images too. The test images judge."""

    experiment: str = Field(min_length=1)
    """Folder of the sweep."""
    identity: str
    """Random name of the sweep, which stays the same if its folder is moved."""
    seeds: int = Field(ge=1)
    """Trainings of each setting. Training n of the experiment has setting n modulo the number of settings."""
    settings: list[RetrainedSetting] = Field(min_length=1)
    """The settings. The first one is what the sweep found, or what a person chose."""
    sample_metrics: int = Field(ge=1)
    """Version of the sample metrics with which the sweep started."""
    earlier: list[str]
    """Earlier retrainings of the sweep, which have used the test images already."""

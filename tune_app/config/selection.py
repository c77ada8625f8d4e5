"""The options that select and change a space file, and the configuration that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tune_app.config.load import Overrides, load, profile_names
from tune_app.config.profile import NO_PROFILE, ProfileChoice, choose_profile
from tune_app.config.schema import SweepConfig
from tune_app.config.space_file import find_space


@dataclass(frozen=True)
class Selection:
    """A space file with the options that the commands share."""

    space: str
    profile: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    fixes: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    trials: int | None = None
    seed: int | None = None
    out: Path = Path("experiments")
    name: str | None = None
    wandb: str | None = None
    address: str | None = None

    @property
    def path(self) -> Path:
        """The space file."""
        return find_space(self.space)

    def choose_profile(self, count_gpus: Callable[[], int]) -> tuple[ProfileChoice, str]:
        """Return the profile that applies, and the line that says so."""
        available = profile_names(self.path)
        choice = choose_profile(self.profile, available, count_gpus)
        return choice, choice.sentence(available)

    def load(self, profile: str | None) -> SweepConfig:
        """Return the configuration with this profile; None or `none` is the file as it stands."""
        overrides = Overrides(self.data, self.trials, self.seed, self.name, self.wandb)
        chosen = None if profile == NO_PROFILE else profile
        return load(self.space, profile=chosen, set=self.sets, fix=self.fixes, overrides=overrides)

    def renamed(self, name: str | None) -> Selection:
        """Return the selection with another experiment name."""
        return replace(self, name=name)

    def with_profile(self, profile: str) -> Selection:
        """Return the selection with a requested profile."""
        return replace(self, profile=profile)

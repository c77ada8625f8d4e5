"""The profile of a space file that a sweep uses, and why."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

NO_PROFILE = "none"
"""Takes the file as it stands."""
LAPTOP = "laptop"


class ProfileChoice(NamedTuple):
    """A profile, or None for the file as it stands, and the reason."""

    profile: str | None
    reason: str

    @property
    def name(self) -> str:
        """The profile's name, `none` for the file as it stands."""
        return self.profile or NO_PROFILE

    def sentence(self, available: Sequence[str]) -> str:
        """Return the line that says which profile is used, why, and which ones there are."""
        return f"profile: {self.name} ({self.reason}); available with --profile: {', '.join([NO_PROFILE, *available])}"


def choose_profile(requested: str | None, available: Sequence[str], count_gpus: Callable[[], int]) -> ProfileChoice:
    """Return the requested profile; without a request, the file as it stands on a GPU and `laptop` elsewhere."""
    if requested is not None:
        return ProfileChoice(None if requested == NO_PROFILE else requested, "requested")
    if LAPTOP not in available:
        return ProfileChoice(None, f"the file has no profile {LAPTOP}")
    gpus = count_gpus()
    if gpus:
        return ProfileChoice(None, f"{gpus} GPU{'s' * (gpus > 1)} found")
    return ProfileChoice(LAPTOP, "no GPU found")

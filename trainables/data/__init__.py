"""The images that a trial trains and is evaluated on, decoded once per machine and shared by its processes."""

from trainables.data.images import ImageData
from trainables.data.sources import load

__all__ = ["ImageData", "load"]

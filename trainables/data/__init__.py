"""The images that a trial trains on and is judged by: decoded once a machine, shared by its processes."""

from trainables.data.images import ImageData
from trainables.data.sources import load

__all__ = ["ImageData", "load"]

"""Numbers by which trials compare: the distance of samples to held-out images."""

from trainables.metrics.kid import Estimate, Reference, kid
from trainables.metrics.randconv import features, fingerprint

__all__ = ["Estimate", "Reference", "features", "fingerprint", "kid"]

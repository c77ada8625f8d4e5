"""Metrics that compare trials: distances of samples to held-out images, likelihoods and disentanglement."""

from trainables.metrics.kid import Estimate, Reference, kid
from trainables.metrics.randconv import features, fingerprint

__all__ = ["Estimate", "Reference", "features", "fingerprint", "kid"]

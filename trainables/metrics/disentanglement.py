"""Disentanglement of encoder means against known factors: MIG, the FactorVAE score and DCI.

`codes` is (N, K): encoder means in units of a standard normal prior. `factors` is (N, F), integers, and each value
should occur dozens of times. A factor with one value is skipped. Without factors, or if all codes are constant, MIG,
FactorVAE and both DCI scores are 0.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

BINS = 20  # of a code in MIG; this, BATCH and LEAST_SD as in disentanglement_lib (Locatello et al. 2019)
BATCH = 64  # rows behind one FactorVAE vote
LEAST_SD = 0.05  # a code with less is switched off, and has no vote
TRAIN_VOTES, TEST_VOTES = 800, 400
TREES, DEPTH = 40, 12

Codes: TypeAlias = NDArray[np.floating[Any]]
Factors: TypeAlias = NDArray[np.integer[Any]]
Array: TypeAlias = NDArray[Any]


class DCI(NamedTuple):
    disentanglement: float  # in [0, 1]; 1 if each code predicts one factor only
    completeness: float  # in [0, 1]; 1 if each factor is predicted by one code only
    informativeness: float  # mean accuracy on unseen rows; chance is the share of the commonest value


def disentanglement(codes: Codes, factors: Factors, seed: int) -> dict[str, float]:
    """Return all scores by name, each in [0, 1], higher is better: mig, factorvae and the three of DCI."""
    names = ("dci", "dci_completeness", "dci_informativeness")
    by_forest = dict(zip(names, dci(codes, factors, seed), strict=True))
    return {"mig": mig(codes, factors), "factorvae": factorvae(codes, factors, seed), **by_forest}


def mig(codes: Codes, factors: Factors) -> float:
    """Return the mutual information gap (Chen et al. 2018), in [0, 1]: the mean over factors v of (I1 - I2) / H(v).

    I1 and I2 are the two largest I(z_k; v) over the codes, each cut into 20 bins of equal width. With one code, I2 = 0.
    """
    z, labels = _prepare(codes, factors)
    width = np.ptp(z, axis=0)
    share = (z - z.min(0)) / np.where(width > 0, width, 1.0)  # of the code's own range
    bins = (share * BINS).astype(np.int64).clip(max=BINS - 1)  # (N, K), 0 to 19
    gaps = []
    for v in labels.T:
        information, entropy = _information(bins, v)
        second, first = np.sort(np.append(information, 0.0))[-2:]
        gaps.append((first - second) / entropy)
    return float(np.mean(gaps)) if gaps else 0.0


def factorvae(codes: Codes, factors: Factors, seed: int) -> float:
    """Return the FactorVAE score (Kim & Mnih 2018), in [0, 1]. Chance is about 1 / F.

    A vote picks a factor, its value in a random row, and 64 rows with that value, drawn with replacement. It names the
    code with the smallest ratio of the variance over those rows to the variance over all. The score is the accuracy of
    a majority vote.
    """
    z, labels = _prepare(codes, factors)
    z = z[:, z.std(0) >= LEAST_SD]
    (N, K), F = z.shape, labels.shape[1]
    if K == 0 or F == 0:
        return 0.0
    rng, votes = np.random.default_rng(seed), TRAIN_VOTES + TEST_VOTES
    factor, row, draw = rng.integers(F, size=votes), rng.integers(N, size=votes), rng.random((votes, BATCH))
    code = np.empty(votes, np.int64)
    for f, v in enumerate(labels.T):
        mine = factor == f
        code[mine] = (z[_alike(v, row[mine], draw[mine])].var(1) / z.var(0)).argmin(1)  # from (votes of f, BATCH, K)
    counts = np.zeros((K, F), np.int64)
    np.add.at(counts, (code[:TRAIN_VOTES], factor[:TRAIN_VOTES]), 1)
    return float(np.mean(counts.argmax(1)[code[TRAIN_VOTES:]] == factor[TRAIN_VOTES:]))


def dci(codes: Codes, factors: Factors, seed: int) -> DCI:
    """Return disentanglement, completeness and informativeness (Eastwood & Williams 2018) from one forest per factor.

    Extra-trees learn on half of the rows. Their impurity importances are the paper's matrix R (codes, factors).
    """
    from sklearn.ensemble import ExtraTreesClassifier  # here, because it takes seconds and few trials need it

    z, labels = _prepare(codes, factors)
    if labels.shape[1] == 0:
        return DCI(0.0, 0.0, 0.0)
    z = z[:, np.lexsort(z)]  # a forest depends on the order of its columns: one order for every permutation
    rng = np.random.default_rng(seed)
    test, train = np.array_split(rng.permutation(len(z)), 2)
    importance, accuracy = [], []
    for v in labels.T:
        # every code at every split: a random subset would force splits, and so importance, on uninformative codes
        forest = ExtraTreesClassifier(
            TREES, max_depth=DEPTH, max_features=None, n_jobs=1, random_state=int(rng.integers(2**32))
        ).fit(z[train], v[train])
        importance.append(forest.feature_importances_)
        accuracy.append(np.mean(forest.predict(z[test]) == v[test]))
    R = np.stack(importance, axis=1)  # (K, F)
    return DCI(_purity(R), _purity(R.T), float(np.mean(accuracy)))


def _prepare(codes: Codes, factors: Factors) -> tuple[Array, Array]:
    """Return the codes in float64, and the factors that vary with their values renumbered from 0."""
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or codes.size == 0:
        raise ValueError(f"codes (N, K) and factors (N, F) do not fit: {codes.shape} and {factors.shape}")
    if not np.isfinite(codes).all():
        raise ValueError("codes must be finite: the encoder gave NaN or infinity")
    labels = [np.unique(v, return_inverse=True)[1] for v in factors.T if len(np.unique(v)) > 1]
    return codes.astype(np.float64), np.array(labels, np.int64).reshape(len(labels), len(codes)).T


def _information(bins: Array, v: Array) -> tuple[Array, float]:
    """Return I(z_k; v) for each code (K,), and H(v), in nats."""
    N, K = bins.shape
    V = int(v.max()) + 1
    cell = (np.arange(K) * BINS + bins) * V + v[:, None]
    joint = np.bincount(cell.ravel(), minlength=K * BINS * V).reshape(K, BINS, V) / N
    h = float(_entropy(joint[0].sum(0)))
    information = _entropy(joint.sum(2)) + h - _entropy(joint.reshape(K, -1))
    return np.clip(information, 0.0, h), h  # only rounding errors lie outside that range


def _alike(v: Array, row: Array, draw: Array) -> Array:
    """Return BATCH rows with the same value of v for each given row, picked by uniform draws: (len(row), BATCH)."""
    size, value = np.bincount(v), v[row, None]
    place: Array = (np.cumsum(size) - size)[value] + (draw * size[value]).astype(np.int64)
    return np.argsort(v, kind="stable")[place]


def _purity(R: Array) -> float:
    """Return the mean over rows of 1 - H(row) / log(columns), weighted by importance; 0 without importance."""
    weight = R.sum(1)
    if weight.sum() == 0:
        return 0.0
    most = np.log(R.shape[1]) or 1.0  # one column: nothing to share with, purity 1
    purity = 1 - _entropy(R / np.where(weight > 0, weight, 1.0)[:, None]) / most
    return float(np.clip(np.average(purity, weights=weight), 0.0, 1.0))


def _entropy(p: Array) -> Array:
    """Return the entropy in nats over the last axis, with 0 log 0 = 0."""
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(-1))

"""One trial: train to the next mark, evaluate at rungs, save, load. Needs no Ray."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from trainables.build import build
from trainables.contract import ErrorParts, Evaluation, RunSpec, Scalar


@dataclass
class Report:
    """Report at a mark. `metrics` are the training losses (`train_loss`, ...), and at a rung the evaluation's too."""

    kimg: float
    seconds: float
    rung: bool
    metrics: dict[str, float]
    sampling: dict[str, Scalar] = field(default_factory=dict)
    settled: dict[str, Scalar] = field(default_factory=dict)
    curve: list[dict[str, Scalar]] = field(default_factory=list)
    levels: list[dict[str, Scalar]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    features: str = ""


@dataclass
class Recheck:
    """Re-evaluation of a finished trial, with fresh seeds."""

    kimg: float
    seconds: float
    sampling: dict[str, Scalar]
    """Best sampling setting at the larger budget, chosen on separate draws."""
    settled: dict[str, Scalar]
    """The same setting with its derived values."""
    draws: list[dict[str, float]]
    """Metrics of each draw at the larger budget."""
    same: list[dict[str, float]]
    """Metrics of each draw at the sweep's own budget and setting, which show the selection bias."""
    pictures: dict[str, bytes]
    features: str
    errors: dict[str, dict[str, float | list[float]]]
    """The parts of the error of the draws' mean: `samples` and `without_group`, see ErrorParts."""


class Trial:
    """Trains the run of `spec` from mark to mark: every `report_kimg`, and every rung. The last rung is the end.

    `sample_metrics` measures the samples; None is the default.
    """

    def __init__(
        self, spec: RunSpec, *, rungs: Sequence[float], report_kimg: float, sample_metrics: Any = None
    ) -> None:
        self.spec = spec
        self.run = build(spec)
        self.images = 0
        self.seconds = 0.0
        self._sample_metrics = sample_metrics
        self._rungs = {images(rung): rung for rung in rungs}
        self._end = images(rungs[-1])
        self._interval = max(1, images(report_kimg))

    @property
    def done(self) -> bool:
        return self.images >= self._end

    def advance(self) -> Report:
        """Train to the next mark and return its report. Raise NonFiniteError if losses or samples are not finite."""
        began = time.perf_counter()
        mark = self._next_mark()
        losses = self.run.train(mark - self.images)
        self.images = mark
        rung = self._rungs.get(mark)
        report = Report(
            kimg=mark / 1000 if rung is None else rung,
            seconds=0.0,
            rung=rung is not None,
            metrics={f"train_{name}" if name.endswith("loss") else name: value for name, value in losses.items()},
        )
        if report.rung:
            self._evaluate(report, final=self.done)
        report.seconds = time.perf_counter() - began
        self.seconds += report.seconds
        if report.rung:
            report.metrics["seconds"] = self.seconds
        return report

    def save(self, folder: Path) -> None:
        """Write a checkpoint into the empty or absent `folder`."""
        from trainables import checkpoint

        about = {"images": self.images, "seconds": self.seconds, "spec": asdict(replace(self.spec, plugins=()))}
        checkpoint.write(folder, self.run.state(), about)

    def load(self, folder: Path) -> None:
        """Continue from the checkpoint in `folder`. Raise CheckpointError if it is damaged."""
        from trainables import checkpoint

        state, about = checkpoint.read(folder)
        self.run.load_state(state)
        self.images = int(about["images"])
        self.seconds = float(about.get("seconds", 0.0))

    def recheck(self, *, own: int, draws: int, samples: int, nfe: int) -> Recheck:
        """Evaluate `draws` times, with `samples` images of `nfe` network evaluations. Raise NonFiniteError.

        `own` is the index of the sweep's choice in spec.final_sampling.
        """
        began, spec = time.perf_counter(), self.spec
        best = 0
        if len(spec.final_sampling) > 1:  # the best step grows with the budget: choose it again, on separate draws
            pilot = replace(spec, final_samples=min(samples, spec.samples), nfe=nfe)
            evaluation = self._again(pilot, "pilot", self._sample_metrics)
            best = [dict(setting) for setting in spec.final_sampling].index(dict(evaluation.sampling))
        more = replace(spec, final_samples=samples, nfe=nfe, final_sampling=(spec.final_sampling[best],))
        fresh = self._sample_metrics and (self._sample_metrics.fresh or self._sample_metrics)
        full = [self._again(more, f"draw {number}", fresh) for number in range(draws)]
        again = replace(spec, final_sampling=(spec.final_sampling[own],))
        same = [self._again(again, f"same {number}", fresh) for number in range(draws)]
        return Recheck(
            kimg=self.images / 1000,
            seconds=time.perf_counter() - began,
            sampling=full[0].sampling,
            settled=full[0].settled,
            draws=[one.metrics for one in full],
            same=[one.metrics for one in same],
            pictures={"samples": full[0].pictures["samples"]},
            features=full[0].features,
            errors={name: errors_of_mean([one.errors[name] for one in full]) for name in full[0].errors},
        )

    def _again(self, spec: RunSpec, purpose: str, sample_metrics: Any) -> Evaluation:
        """Evaluate with a seed that no evaluation of the sweep has used."""
        seed = fresh_seed(spec.seed, purpose)
        return self.run.evaluate(
            final=True, sample_metrics=sample_metrics, spec=replace(spec, seed=seed, common_seed=seed)
        )

    def _next_mark(self) -> int:
        regular = (self.images // self._interval + 1) * self._interval
        return min([regular, self._end] + [rung for rung in self._rungs if rung > self.images])

    def _evaluate(self, report: Report, *, final: bool) -> None:
        evaluation = self.run.evaluate(final=final, sample_metrics=self._sample_metrics)
        report.metrics.update(evaluation.metrics)
        report.sampling, report.settled, report.curve = evaluation.sampling, evaluation.settled, evaluation.curve
        report.levels, report.pictures, report.features = evaluation.levels, evaluation.pictures, evaluation.features


def fresh_seed(seed: int, purpose: str) -> int:
    """Return the seed for one draw of the re-evaluation, from the trial's own seed."""
    return int.from_bytes(sha256(f"{seed}/recheck/{purpose}".encode()).digest()[:4], "big")


def errors_of_mean(parts: list[ErrorParts]) -> dict[str, float | list[float]]:
    """Return the parts of the error of the mean over several draws, which all use the same real images."""
    samples = sqrt(sum(part.samples**2 for part in parts)) / len(parts)
    groups = zip(*(part.without_group for part in parts), strict=True)
    return {"samples": samples, "without_group": [fmean(values) for values in groups]}


def images(kimg: float) -> int:
    """Return kimg (thousands of images) as a number of images."""
    return round(kimg * 1000)

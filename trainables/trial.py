"""One trial from its spec to its metrics: train to the next mark, evaluate at rungs, save, load. Needs no Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainables import catalog
from trainables.model import RunSpec, Scalar


@dataclass
class Report:
    """What a trial says at a mark; `metrics` are the training losses, at a rung the evaluation's numbers too."""

    kimg: float
    seconds: float
    rung: bool
    metrics: dict[str, float]
    sampling: dict[str, Scalar] = field(default_factory=dict)
    curve: list[dict[str, Scalar]] = field(default_factory=list)
    levels: list[dict[str, Scalar]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)


class Trial:
    """Trains the run of `spec` from mark to mark: every `report_kimg`, and at each of `rungs`, the last one the end."""

    def __init__(self, spec: RunSpec, *, rungs: Sequence[float], report_kimg: float) -> None:
        self.spec = spec
        self.run = catalog.build(spec)
        self.images = 0
        self._rungs = {images(rung): rung for rung in rungs}
        self._end = images(rungs[-1])
        self._interval = max(1, images(report_kimg))

    @property
    def done(self) -> bool:
        return self.images >= self._end

    def advance(self) -> Report:
        """Train to the next mark and report there. Raises NonFiniteError when a loss or all samples are no numbers."""
        began = time.perf_counter()
        mark = self._next_mark()
        losses = self.run.train(mark - self.images)
        self.images = mark
        rung = self._rungs.get(mark)
        report = Report(
            kimg=mark / 1000 if rung is None else rung,
            seconds=0.0,
            rung=rung is not None,
            metrics={f"train_{name}" if name == "loss" else name: value for name, value in losses.items()},
        )
        if report.rung:
            self._evaluate(report, final=self.done)
        report.seconds = time.perf_counter() - began
        return report

    def save(self, folder: Path) -> None:
        """Write a checkpoint into the empty or absent `folder`."""
        from trainables import checkpoint

        about = {"images": self.images, "spec": asdict(self.spec)}
        checkpoint.write(folder, self.run.state(), about)

    def load(self, folder: Path) -> None:
        """Continue from the checkpoint in `folder`; raises CheckpointError if it is damaged."""
        from trainables import checkpoint

        state, about = checkpoint.read(folder)
        self.run.load_state(state)
        self.images = int(about["images"])

    def _next_mark(self) -> int:
        regular = (self.images // self._interval + 1) * self._interval
        return min([regular, self._end] + [rung for rung in self._rungs if rung > self.images])

    def _evaluate(self, report: Report, *, final: bool) -> None:
        found = self.run.evaluate(final=final)
        report.metrics.update(found.metrics)
        report.sampling, report.curve, report.levels = found.sampling, found.curve, found.levels
        report.pictures = found.pictures


def images(kimg: float) -> int:
    """A mark in images."""
    return round(kimg * 1000)

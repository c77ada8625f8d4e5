"""The cost of one setting in seconds and bytes, measured over a few training steps and small evaluations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.contract import Evaluation, Run, RunSpec, Scalar
from trainables.plugin_code import entry_of
from trainables.trial import Trial, images

if TYPE_CHECKING:
    from trainables.training import ImageRun

Clock = Callable[[], float]
"""Returns seconds."""

WARM_UP_STEPS = 5
"""Steps that are not timed. In the first ones libraries choose their kernels, and a GPU records the step."""
TRAINING_SHARE, EVALUATION_SHARE = 0.5, 0.25
"""Shares of the time for training steps, and for the network evaluations of samples."""
FEW, MANY = 2, 12
"""Network evaluations of an image in the short and in the long evaluation of the probe."""
LEAST_SAMPLES, MOST_SAMPLES = 16, 256
STEPS_PER_FORWARD = 3
"""A training step costs about as much as so many evaluations of the network."""


class ProbedCost(NamedTuple):
    """Cost of a trial with one setting."""

    began: float
    """Time of day when the process had started and loaded the data."""
    kimg: float
    """Seconds to train on a thousand images, with the checkpoints of the reports."""
    rung: float
    """Seconds of an evaluation at a rung."""
    final: float
    """Seconds of the evaluation at max_kimg."""
    recheck: float
    """Seconds of the re-evaluation; 0 if there is none."""
    checkpoint_bytes: int
    picture_bytes: int
    """Pictures of one evaluation."""


class SamplingCost(NamedTuple):
    """Seconds of an evaluation: `fixed`, and for each sample `sample` plus `network` for each network evaluation."""

    fixed: float
    sample: float
    network: float

    def seconds(self, samples: int, evaluations: list[float]) -> float:
        """Return the seconds for `samples` of each setting. `evaluations` are those of an image in each setting."""
        return self.fixed + sum(samples * (self.sample + self.network * count) for count in evaluations)


def probe(
    spec: RunSpec, *, report_kimg: float, sample_metrics: Any, again: Mapping[str, int] | None, seconds: float
) -> ProbedCost:
    """Measure a setting for about `seconds`, or longer if one step or one small evaluation takes longer.

    `again` holds `draws`, `samples` and `nfe` of the re-evaluation.
    """
    Trial(spec, rungs=[spec.max_kimg], report_kimg=report_kimg)  # imports torch and loads the data
    began = time.time()
    trial = Trial(spec, rungs=[spec.max_kimg], report_kimg=report_kimg, sample_metrics=sample_metrics)
    clock = _clock(trial.run)
    wall, own = time.perf_counter(), clock()
    report = images(report_kimg)
    # without images, the time of a call may not depend on their number, so call `train` as a trial does
    batch = int(spec.params["batch_size"]) if entry_of(spec).uses_images else report
    per_image = _seconds_per_image(trial.run, clock, batch, report, TRAINING_SHARE * seconds)
    checkpoint_bytes, save = _checkpoint(trial)
    room = EVALUATION_SHARE * seconds / per_image
    evaluations = _Evaluations(trial.run, clock, spec, sample_metrics, room)
    slower = (time.perf_counter() - wall) / (clock() - own)
    return ProbedCost(
        began=began,
        kimg=slower * 1000 * per_image + save / report_kimg,
        rung=slower * evaluations.rung(),
        final=slower * evaluations.final(),
        recheck=slower * evaluations.recheck(**again) if again else 0.0,
        checkpoint_bytes=checkpoint_bytes,
        picture_bytes=evaluations.picture_bytes,
    )


def _clock(run: Run) -> Clock:
    """Return the clock for the parts of the probe.

    A run on one thread of a CPU is measured by the CPU time of its process. Other work on the machine may hit one part
    of the probe more than another, and so spoil their proportion. The wall clock then measures the probe as a whole.
    """
    device = getattr(run, "device", None)
    if device is None or device.type != "cpu":
        return time.perf_counter
    return time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter


def _seconds_per_image(run: Run, clock: Clock, batch: int, report: int, seconds: float) -> float:
    """Train on ever more images at a time, up to those of a report, and return the seconds of the largest parts."""
    for _ in range(WARM_UP_STEPS if batch < report else 0):
        run.train(batch)
    count, end, parts = min(batch, report), time.perf_counter() + seconds, list[tuple[int, float]]()
    while (left := end - time.perf_counter()) > 0:
        began, wall = clock(), time.perf_counter()
        run.train(count)
        parts.append((count, clock() - began))
        took = time.perf_counter() - wall
        if 3 * took < left:
            count = min(2 * count, report)
    largest = max(count for count, _ in parts)
    whole = [took / count for count, took in parts if 2 * count > largest]
    return fmean(whole)


def _checkpoint(trial: Trial) -> tuple[int, float]:
    """Return the size of a checkpoint and the seconds to write it."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoint"
        began = time.perf_counter()
        trial.save(place)
        took = time.perf_counter() - began
        return sum(path.stat().st_size for path in place.iterdir()), took


class _Evaluations:
    """Small evaluations of a run, from which the seconds of the sweep's own evaluations follow.

    `room` is the number of training images that could be trained in the time for sampling.
    """

    def __init__(self, run: Run, clock: Clock, spec: RunSpec, sample_metrics: Any, room: float) -> None:
        self._run, self._clock, self._spec, self._sample_metrics = run, clock, spec, sample_metrics
        self._few, self._many = min(FEW, spec.nfe), max(MANY, FEW)
        affordable = int(room * STEPS_PER_FORWARD / (2 * self._few + self._many + 2 * self._few))
        self._samples = max(LEAST_SAMPLES, min(affordable, spec.samples, MOST_SAMPLES))
        self._time(final=False, samples=LEAST_SAMPLES, nfe=self._few)  # not timed: the first one is slower
        at_a_rung, evaluation = self._time(final=False, samples=self._samples, nfe=self._few)
        self.picture_bytes = sum(map(len, evaluation.pictures.values()))
        self._at_a_rung = self._at_the_end = SamplingCost(at_a_rung, 0.0, 0.0)
        if "nfe" in evaluation.metrics:  # it draws samples
            self._fit(at_a_rung)

    def rung(self) -> float:
        return self._at_a_rung.seconds(self._spec.samples, self._counts(self._spec.sampling, self._spec.nfe))

    def final(self) -> float:
        return self._at_the_end.seconds(
            self._spec.final_samples, self._counts(self._spec.final_sampling, self._spec.nfe)
        )

    def recheck(self, *, draws: int, samples: int, nfe: int) -> float:
        """Return the seconds of Trial.recheck, whose best sampling setting is not known."""
        spec, cost = self._spec, self._at_the_end
        more, same = self._counts(spec.final_sampling, nfe), self._counts(spec.final_sampling, spec.nfe)
        pilot = cost.seconds(min(samples, spec.samples), more) if len(more) > 1 else 0.0
        full, again = cost.seconds(samples, [fmean(more)]), cost.seconds(spec.final_samples, [fmean(same)])
        return pilot + draws * (full + again)

    def _fit(self, at_a_rung: float) -> None:
        """Compare evaluations that differ in the number of samples or of network evaluations alone."""
        less, more = self._samples, 2 * self._samples
        few, first = self._time(final=True, samples=less, nfe=self._few)
        twice, _ = self._time(final=True, samples=more, nfe=self._few)
        many, second = self._time(final=True, samples=less, nfe=self._many)
        steps = second.metrics["nfe"] - first.metrics["nfe"]
        network = max(0.0, (many - few) / (less * steps)) if steps else 0.0
        sample = max(0.0, (twice - few) / less - network * first.metrics["nfe"])
        moving = less * (sample + network * first.metrics["nfe"])
        self._at_the_end = SamplingCost(max(0.0, few - moving), sample, network)
        self._at_a_rung = SamplingCost(max(0.0, at_a_rung - moving), sample, network)

    def _time(self, *, final: bool, samples: int, nfe: int) -> tuple[float, Evaluation]:
        setting = self._spec.sampling[:1]
        small = replace(
            self._spec, samples=samples, final_samples=samples, nfe=nfe, sampling=setting, final_sampling=setting
        )
        began = self._clock()
        evaluation = self._run.evaluate(final=final, sample_metrics=self._sample_metrics, spec=small)
        return self._clock() - began, evaluation

    def _counts(self, settings: tuple[Mapping[str, Scalar], ...], nfe: int) -> list[float]:
        """Return the network evaluations of an image in each setting."""
        if not hasattr(self._run, "model"):
            return [0.0 for _ in settings]
        run: ImageRun = self._run  # type: ignore[assignment]
        return [float(run.model.settled(setting, nfe).get("nfe", 1)) for setting in settings]

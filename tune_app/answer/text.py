"""The answer of a sweep and the state of its trials, as text and as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from tune_app.answer.comparison import BaselineRow
from tune_app.answer.retraining import Retrained, retrained_lines, retrained_sentences
from tune_app.answer.rungs import rung_lines
from tune_app.answer.summary import Answer, Summary, sweep_state
from tune_app.experiment.folder import Experiment
from tune_app.experiment.queue import waiting_points
from tune_app.experiment.ranking import TrialResult
from tune_app.experiment.records import TrialRecord
from tune_app.formatting import clock, short

if TYPE_CHECKING:
    from tune_app.answer.importance import Share

SCALE = {
    "blurred": "blurred",
    "halves_joined": "two halves joined",
    "phases_randomised": "random phases (no picture left)",
}
"""How the text names each corruption of real images."""


def answer_lines(answer: Summary) -> list[str]:
    """Return the answer as text: the winner, what it is worth, how trials ended, and what to type next."""
    experiment = Experiment(Path(answer.experiment))
    counts = ", ".join(f"{count} {state}" for state, count in answer.trials.items())
    spent = f" in {clock(answer.cost['hours'] * 3600)}, {answer.cost['kimg']:g} kimg trained"
    lines = ["", f"{answer.name}: {answer.state}; {counts or 'no trial'}{spent}"]
    if answer.best is None:
        lines.append("no trial reached a rung, so there is no best one")
    elif answer.retraining:
        lines += _retraining_lines(answer.retraining, answer.best, experiment, answer.storage)
    elif answer.front:
        lines += _front_lines(answer, experiment)
    else:
        lines += _winner_lines(answer, answer.best, experiment)
        lines += _worth_lines(answer.answer, answer, answer.best) if answer.answer else []
    lines += _failure_lines(answer, experiment)
    lines += [f"warning: {warning}" for warning in answer.warnings]
    return [*lines, *_next_lines(answer, experiment)]


def answer_sentences(answer: Summary) -> list[str]:
    """Return the answer in up to three sentences: the winner, the trials that tie with it, the best baseline."""
    if answer.best is None:
        return ["No trial has reached a rung, so there is no best one."]
    if answer.retraining:
        return retrained_sentences(answer.retraining)
    if answer.front:
        names = " and ".join(metric.name for metric in answer.metrics)
        return [
            f"Trials {', '.join(one.trial for one in answer.front)} are on the front of {names}: no other is better."
        ]
    best, metric = answer.best, answer.metric.name
    params = {name: best.params[name] for name in answer.searched if name in best.params}
    sentences = [
        f"Trial {best.trial} is the best ({best.source}): {_value(metric, best.value, best.stderr)}{_basis(best)} at "
        f"{best.kimg:g} kimg, with {_assignments(params)}."
    ]
    if answer.answer is None:
        return sentences
    if tied := answer.answer.tied:
        sentences.append(
            f"Chance explains the difference to {'trial' if len(tied) == 1 else 'trials'} {', '.join(tied)}."
        )
    elif answer.answer.rechecked:
        sentences.append("No other re-evaluated trial ties with it.")
    baseline = answer.answer.baseline
    if best.source == "baseline":
        sentences.append("It is a baseline: the search has not found a better setting.")
    elif baseline:
        beaten = "" if baseline.beaten is not False else ", so the search has not beaten it beyond chance"
        sentences.append(f"The best baseline is {_baseline(baseline, metric)}{beaten}.")
    return sentences


def exit_code(state: str) -> int:
    """Return 0 for done, 1 if no trial succeeded, 130 for interrupted and resumable."""
    return {"interrupted": 130, "failed": 1}.get(state, 0)


@dataclass(frozen=True)
class TrialStatus:
    """State of one trial."""

    trial: str
    state: str
    reason: str
    kimg: float
    value: float | None
    stderr: float | None
    params: Mapping[str, Scalar]
    failures: int
    error: str


@dataclass(frozen=True)
class SweepStatus:
    """State of a sweep and of each trial: `status --json`."""

    experiment: str
    state: str
    metric: str
    counts: dict[str, int]
    trials: list[TrialStatus]
    added: list[Mapping[str, Scalar]]
    """Points that a person added and that have not started yet."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        return asdict(self)


def sweep_status(experiment: Experiment) -> SweepStatus:
    """Return the state of an experiment."""
    records, metric = experiment.read_records(), experiment.config().metric.name
    return SweepStatus(
        experiment=str(experiment.folder),
        state=sweep_state(experiment, records),
        metric=metric,
        counts={state: count for state, count in records.counts.items() if count},
        trials=[_trial_status(record, metric) for record in records.trials.values()],
        added=[point.params for point in waiting_points(experiment, records)],
    )


def status_lines(status: SweepStatus) -> list[str]:
    """Return the state of a sweep as text, a line per trial."""
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    lines = [f"{status.experiment}: {status.state}; {counts or 'no trial yet'}"]
    for trial in status.trials:
        value = "" if trial.value is None else f"  {status.metric} {trial.value:.4g}"
        state = trial.state + (f" ({trial.reason})" if trial.reason else "")
        lines.append(f"  {trial.trial}  {state:24}{trial.kimg:>9g} kimg{value}")
        lines += [f"        {trial.error}"] if trial.error else []
    return [*lines, *(f"  added, not started yet: {_assignments(point)}" for point in status.added)]


def _trial_status(record: TrialRecord, metric: str) -> TrialStatus:
    return TrialStatus(
        trial=record.id,
        state=record.state,
        reason=record.reason,
        kimg=record.kimg,
        value=record.value(metric),
        stderr=record.rungs[-1].metrics.get(f"{metric}_stderr") if record.rungs else None,
        params=record.params,
        failures=len(record.failures),
        error=record.failures[-1].message if record.failures else "",
    )


def _winner_lines(answer: Summary, winner: TrialResult, experiment: Experiment) -> list[str]:
    """Return the winner: value, parameters, how good it is, and its files."""
    value = f"{_value(answer.metric.name, winner.value, winner.stderr)}{_basis(winner)} at {winner.kimg:g} kimg"
    lines = [f"best: trial {winner.trial}, {value} ({winner.source})"]
    lines += [_row(name, short(winner.params[name])) for name in answer.searched if name in winner.params]
    fixed = {name: value for name, value in winner.params.items() if name not in answer.searched}
    lines += [_row("fixed", _assignments(fixed))] if fixed else []
    used = {name: value for name, value in winner.settled.items() if value != winner.params.get(name)}
    lines += [_row("sampled with", _assignments(used))] if used else []
    if answer.metric.name == "kid" and "inception" in answer.features and winner.value is not None:
        lines.append(_row("as papers print", f"KID x 1000: {1000 * winner.value:.4g}"))
    worth = answer.answer
    if worth and worth.kid_blurs is not None:
        unit = "1 is as far from real images as a 3x3 blur of them"
        lines.append(_row("kid in blurs", f"{worth.kid_blurs:.3g} ({unit})"))
    if worth and worth.scale:
        known = {SCALE.get(name, name): value for name, value in worth.scale.items() if value is not None}
        if (recon := winner.metrics.get("kid_recon")) is not None:
            known["as the winner reconstructs them"] = recon
        lines.append(_row("for comparison", f"kid of real images: {_assignments(known)}"))
    if worth and worth.baseline:
        lines.append(_row("best baseline", _baseline(worth.baseline, answer.metric.name)))
    return [*lines, *_file_lines(winner, experiment, answer.storage), *_real_images(experiment)]


def _basis(winner: TrialResult) -> str:
    """Return what the winner's value is the mean of."""
    if winner.trainings:
        return f", the mean over {len(winner.trainings)} more trainings with other seeds,"
    return f" over {winner.draws} draws with fresh seeds from one training" if winner.draws else ""


def _file_lines(trial: TrialResult, experiment: Experiment, storage: str | None) -> list[str]:
    """Return the places of a trial's checkpoint and pictures."""
    shown = Path(experiment.shown)
    lines = [_row(name, str(shown / path)) for name, path in trial.pictures.items()]
    if trial.checkpoint:
        place = experiment.place(trial.checkpoint, storage) if storage else str(shown / trial.checkpoint)
        lines.insert(0, _row("checkpoint", place))
    return lines


def _real_images(experiment: Experiment) -> list[str]:
    """Return the place of the real images to look at beside the samples."""
    path = Path(experiment.shown) / experiment.real_images.name
    return [_row("real images", str(path))] if experiment.real_images.is_file() else []


def _baseline(baseline: BaselineRow, metric: str) -> str:
    value = _value(metric, baseline.value, baseline.stderr)
    error = "" if baseline.worse_by_stderr is None else f" ± {baseline.worse_by_stderr:.2g}"
    kind = "better" if baseline.worse_by < 0 else "worse"
    how = "both with fresh seeds" if baseline.fresh else "both as the sweep measured them"
    differs = f" with {_assignments(baseline.differs)}" if baseline.differs else ""
    return f"trial {baseline.trial}{differs}, {value}: {abs(baseline.worse_by):.2g}{error} {kind} ({how})"


def _worth_lines(answer: Answer, summary: Summary, winner: TrialResult) -> list[str]:
    metric = summary.metric.name
    lines = [f"re-evaluated with fresh seeds, {_budget_words(summary)}:"] if answer.rechecked else []
    for row in answer.rechecked:
        tied = ", ties with the best" if row.trial in answer.tied else ""
        sweep_value = "nothing" if row.sweep_value is None else f"{row.sweep_value:.4g}"
        value = _value(metric, row.value, row.stderr)
        if row.trainings:
            again = ", ".join(f"{one:.4g}" for one in row.trainings)
            value += f", mean of {again} in other trainings; {row.own_value:.4g} in its own"
        lines.append(f"  trial {row.trial}  {value} (the sweep reported {sweep_value}){tied}")
    if answer.tied:
        lines.append(f"tie: chance explains the differences between {', '.join([winner.trial, *answer.tied])}")
    if winner.source == "baseline" or (answer.baseline and answer.baseline.beaten is False):
        lines.append("the search has not beaten the best baseline beyond chance")
    if answer.rechecked and not winner.trainings:
        lines.append(
            "another training of a setting may differ by more than these errors: recheck.seeds trains it again"
        )
    if answer.optimism is not None:
        kind = "worse" if answer.optimism > 0 else "better"
        lines.append(
            f"selection bias: with fresh seeds and the same budget, the sweep's leader is {abs(answer.optimism):.2g} "
            f"{kind} than the sweep reported"
        )
    lines += rung_lines(answer.rungs, [*(rung.kimg for rung in answer.rungs), winner.kimg])
    lines.append(_importance_line(answer.importances))
    lines += [found.sentence for found in answer.at_bounds]
    return [*lines, *([f"warning: {answer.disagreement}"] if answer.disagreement else [])]


def _budget_words(summary: Summary) -> str:
    """Return the budget of the re-evaluation, and the sweep's if it differs: then their values do not compare."""
    sweep, again = summary.budgets["sweep"], summary.budgets["recheck"]
    words = f"{again['samples']} images of at most {again['nfe']} network evaluations"
    return words if again == sweep else f"{words} (the sweep: {sweep['samples']} of {sweep['nfe']})"


def _importance_line(importances: dict[str, Share] | None) -> str:
    """Return the shares that are larger than chance explains."""
    if importances is None:
        return "importance: too few trials to tell the parameters apart"
    clear = [
        f"{name} {100 * one.share:.0f} ± {100 * one.sd:.0f} % (by chance {100 * one.chance:.0f} %)"
        for name, one in importances.items()
        if one.share > one.chance
    ]
    return f"importance: {', '.join(clear) or 'chance explains that of every parameter'}"


def _retraining_lines(
    retraining: Retrained, model: TrialResult, experiment: Experiment, storage: str | None
) -> list[str]:
    """Return the tables and the verdict of a retraining, and the files of the model to take."""
    lines = retrained_lines(retraining)
    setting = ", ".join(f"{name} {short(value)}" for name, value in retraining.rows[0].params.items())
    files = [*_file_lines(model, experiment, storage), *_real_images(experiment)]
    head = f"setting of {retraining.rows[0].name}: {setting}"
    return [*lines, head, f"its first training, trial {model.trial}:", *files]


def _front_lines(summary: Summary, experiment: Experiment) -> list[str]:
    """Return the Pareto front: values with errors, ties, searched parameters and files of each trial."""
    trials, fresh = summary.front, any(trial.draws for trial in summary.front)
    how = f", re-evaluated with fresh seeds, {_budget_words(summary)}" if fresh else ""
    lines = [f"the front{how}: {len(trials)} trials; no other trial beats one of them in both objectives"]
    for trial in trials:
        values = [_value(name, value, trial.stderrs[name]) for name, value in trial.values.items()]
        lines.append(f"  trial {trial.trial}  {', '.join(values)}")
        searched = {name: trial.params[name] for name in summary.searched if name in trial.params}
        lines.append(f"    {_assignments(searched)}")
        if trial.tied:
            lines.append(f"    ties with {', '.join(trial.tied)}: less than two standard errors in both objectives")
        lines += [f"  {line}" for line in _file_lines(trial, experiment, summary.storage)]
    return [*lines, *_real_images(experiment)]


def _failure_lines(answer: Summary, experiment: Experiment) -> list[str]:
    """Return the first failure and the files that tell more about it."""
    if answer.first_failure is None:
        return []
    trial = answer.first_failure.trial
    known = [path for path in experiment.failure_files(trial) if path.is_file()]
    files = ", ".join(experiment.relative(path) for path in known)
    return [f"first failure: trial {trial}: {answer.first_failure.message}{f' (see {files})' if files else ''}"]


def _next_lines(answer: Summary, experiment: Experiment) -> list[str]:
    """Return the commands to type next."""
    command, folder = "python -m tune_app", experiment.shown
    if answer.state == "running":
        return [f"next: {command} status {folder}   |   {command} stop {folder}"]
    lines = []
    if answer.state == "interrupted":
        lines.append(f"resume with: {command} resume {folder}")
    if answer.state == "budget":
        lines.append(f"the budget is spent; to add more: {command} resume {folder} --set budget.KEY=HOURS")
    bounds = answer.answer.at_bounds if answer.answer else []
    wider = " ".join(f"--set {found.setting}" for found in bounds if found.setting)
    if wider and answer.state == "completed":
        space = " ".join([str(Path(folder) / "sweep.yaml"), wider, *experiment.model_options])
        lines.append(f"to widen the ranges in a new sweep: {command} run {space}")
    if answer.retraining:
        model = f"{command} export {folder} --out DIR   |   {command} sample {folder}"
        return [*lines, *([f"take the model: {model}"] if answer.best and answer.features else []),
                f"next: {command} best {folder}   |   {command} report {folder}"]  # fmt: skip
    if answer.state == "completed" and answer.best and answer.features:
        lines.append(f"to train the winner anew and test it: {command} retrain {folder} --with-baselines")
    if answer.state == "completed" and answer.sampler != "grid":
        lines.append(f"to add trials: {command} resume {folder} --trials {2 * sum(answer.trials.values())}")
    return [*lines, f"next: {command} best {folder}   |   {command} status {folder}"]


def _row(name: str, value: str) -> str:
    return f"  {name:15} {value}"


def _value(metric: str, value: float | None, stderr: float | None) -> str:
    """Return a value with its standard error, such as `kid 0.31 ± 0.02`."""
    if value is None:
        return f"no {metric}"
    return f"{metric} {value:.4g}" + ("" if stderr is None else f" ± {stderr:.2g}")


def _assignments(params: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())

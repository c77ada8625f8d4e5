"""The answer of a sweep and the state of its trials, as text and as JSON documents."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from tune_app.answer.rungs import rung_lines
from tune_app.answer.summary import Answer, FrontTrial, Share, Summary, summarise
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import is_running
from tune_app.experiment.log import read
from tune_app.experiment.ranking import TrialResult
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import clock, short


@dataclass(frozen=True)
class SweepAnswer(Summary):
    """The summary with the experiment's folder and the first failure."""

    experiment: str
    first_error: tuple[str, str] | None
    """Trial and message."""


def sweep_answer(experiment: Experiment) -> SweepAnswer:
    """Return the answer of an experiment, as far as its sweep has come."""
    events = read(experiment.events)
    records = Records(events)
    summary = summarise(experiment.config(), records, events)
    errors = [(r.id, r.failures[-1].message) for r in records.trials.values() if r.failed_for_good]
    return SweepAnswer(
        **{**vars(summary), "state": _state(experiment, records)},
        experiment=str(experiment.folder),
        first_error=errors[0] if errors else None,
    )


def answer_lines(answer: SweepAnswer) -> list[str]:
    """Return the answer as text: the winner, how trials ended, where the pictures are, and the next commands."""
    folder, metric = Experiment(Path(answer.experiment)).shown, answer.metric.name
    counts = ", ".join(f"{count} {state}" for state, count in answer.trials.items())
    spent = f" in {clock(answer.cost['hours'] * 3600)}, {answer.cost['kimg']:g} kimg trained"
    lines = ["", f"{answer.name}: {answer.state}; {counts or 'no trial'}{spent}"]
    if answer.best is None:
        lines.append("no trial reached a rung, so there is no best one")
    elif answer.front:
        lines += _front_lines(answer.front)
    else:
        lines += _winner_lines(answer.best, metric, Path(folder))
        lines += _worth_lines(answer.answer, answer.best, metric) if answer.answer else []
    if answer.first_error:
        trial, message = answer.first_error
        traceback = Path(answer.experiment) / "trials" / trial / "error.txt"
        lines.append(f"first failure: trial {trial}: {message}{f' (trials/{trial}/error.txt)' * traceback.exists()}")
    lines += [f"warning: {warning}" for warning in answer.warnings]
    if answer.state == "interrupted":
        lines.append(f"resume with: python -m tune_app resume {folder}")
    if answer.state == "budget":
        lines.append(f"the budget is spent; to add more: python -m tune_app resume {folder} --set budget.KEY=HOURS")
    return [*lines, f"next: python -m tune_app best {folder}   |   python -m tune_app status {folder}"]


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

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        return asdict(self)


def sweep_status(experiment: Experiment) -> SweepStatus:
    """Return the state of an experiment."""
    records, metric = experiment.read_records(), experiment.config().metric.name
    return SweepStatus(
        experiment=str(experiment.folder),
        state=_state(experiment, records),
        metric=metric,
        counts={state: count for state, count in records.counts.items() if count},
        trials=[_trial_status(record, metric) for record in records.trials.values()],
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
    return lines


def _state(experiment: Experiment, records: Records) -> str:
    """Return the state that the log tells; a sweep without a running driver was interrupted."""
    return "interrupted" if records.state == "running" and not is_running(experiment.folder) else records.state


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


def _winner_lines(winner: TrialResult, metric: str, folder: Path) -> list[str]:
    error = "" if winner.stderr is None else f" ± {winner.stderr:.2g}"
    draws = f" over {winner.draws} draws with fresh seeds" if winner.draws else ""
    value = f"{metric} {winner.value:.4g}{error}{draws} at {winner.kimg:g} kimg"
    lines = [f"best: trial {winner.trial}, {value} ({winner.source})"]
    lines += [f"  {name:16}{short(value)}" for name, value in winner.params.items()]
    used = [f"{name} {short(value)}" for name, value in winner.settled.items() if value != winner.params.get(name)]
    lines += [f"  {'sampled with':16}{', '.join(used)}"] if used else []
    return [*lines, *(f"  {name:16}{folder / path}" for name, path in winner.pictures.items())]


def _worth_lines(answer: Answer, winner: TrialResult, metric: str) -> list[str]:
    lines = ["re-evaluated with fresh seeds:"] if answer.rechecked else []
    for row in answer.rechecked:
        tied = ", ties with the best" if row.trial in answer.tied else ""
        sweep_value = "nothing" if row.sweep_value is None else f"{row.sweep_value:.4g}"
        value = f"{metric} {row.value:.4g} ± {row.stderr:.2g}"
        lines.append(f"  trial {row.trial}  {value} (the sweep reported {sweep_value}){tied}")
    if answer.tied:
        lines.append(f"tie: {', '.join([winner.trial, *answer.tied])} differ by less than two standard errors")
    if answer.optimism is not None:
        kind = "worse" if answer.optimism > 0 else "better"
        lines.append(
            f"selection bias: with fresh seeds and the same budget, the sweep's leader is {abs(answer.optimism):.2g} "
            f"{kind} than the sweep reported"
        )
    lines += rung_lines(answer.rungs, [*(rung.kimg for rung in answer.rungs), winner.kimg])
    lines.append(_importance_line(answer.importances or {}))
    lines += answer.at_bounds
    return [*lines, *([f"warning: {answer.disagreement}"] if answer.disagreement else [])]


def _importance_line(importances: Mapping[str, Share]) -> str:
    """Return the shares that exceed their own standard deviation."""
    clear = [f"{name} {100 * i.share:.0f} ± {100 * i.sd:.0f} %" for name, i in importances.items() if i.share > i.sd]
    return f"importance: {', '.join(clear)}" if clear else "importance: too few trials to tell the parameters apart"


def _front_lines(trials: list[FrontTrial]) -> list[str]:
    lines = [f"the front: {len(trials)} trials; no other trial beats one of them in both objectives"]
    for trial in trials:
        values = ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items() if value is not None)
        lines.append(f"  trial {trial.trial}  {values}")
        lines.append(f"    {', '.join(f'{name} {short(value)}' for name, value in trial.params.items())}")
    return lines

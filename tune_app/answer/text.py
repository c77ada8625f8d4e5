"""An experiment and a plan as a person or a program reads them: the documents of --json and the lines beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.catalog import MODELS
from tune_app.answer.rungs import RungVerdict, rung_lines
from tune_app.answer.summary import summarise, warnings
from tune_app.config.schema import SweepConfig
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import read
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import clock, short
from tune_app.plan import Plan


def plan_lines(plan: Plan, config: SweepConfig) -> list[str]:
    """What would run, in words."""
    ladder = " -> ".join(f"{rung:g}" for rung in plan.rungs)
    asha = config.scheduler
    stopping = (
        "no trial is stopped early"
        if len(plan.rungs) == 1
        else f"ASHA keeps the best 1/{asha.reduction_factor:g} of a rung"
    )
    if len(plan.rungs) > 1 and asha.trust:
        stopping += f" once {asha.trust.trials} finished trials agree with it (tau >= {asha.trust.tau:g})"
    lines = [
        f"plan: {plan.trials} trials of {plan.model} ({plan.baselines} of them baselines), {_goals(config)}",
        *_data_lines(config),
        f"  searches {', '.join(config.parameters)}",
        f"  rungs at {ladder} kimg; {stopping}",
        f"  {plan.kimg_least:g} to {plan.kimg_most:g} kimg of training; the time is shown once the first trial reports",
        f"  a trial takes {plan.cpu:g} CPU and {plan.gpu if isinstance(plan.gpu, str) else f'{plan.gpu:g}'} GPU",
    ]
    limits = ", ".join(
        f"{value:g} {name.replace('_', ' ')}" for name, value in plan.budget.items() if value is not None
    )
    if MODELS[config.model].uses_images and config.recheck.trials:
        again = config.recheck
        lines.append(
            f"  the best {again.trials} are measured again at the end: {again.draws} times {again.samples} samples"
        )
    lines += [f"  budget: {limits}"] if limits else []
    return [*lines, *(f"warning: {warning}" for warning in warnings(config))]


def _goals(config: SweepConfig) -> str:
    return " and ".join(f"{one.goal.removesuffix('ize')}ising {one.name}" for one in config.objectives)


def _data_lines(config: SweepConfig) -> list[str]:
    if not MODELS[config.model].uses_images:
        return []
    data = config.data
    return [f"  data {data.name}{f' {data.path}' if data.path else ''}, {data.resolution} x {data.resolution} pixels"]


def look(experiment: Experiment) -> dict[str, Any]:
    """`status --json`: the sweep's state and every trial's."""
    folded, metric = experiment.folded(), experiment.config().metric.name
    return {
        "experiment": str(experiment.folder),
        "state": _state(experiment, folded),
        "metric": metric,
        "counts": {name: count for name, count in folded.counts.items() if count},
        "trials": [_row(record, metric) for record in folded.trials.values()],
    }


def status_lines(found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    lines = [f"{found['experiment']}: {found['state']}; {counts or 'no trial yet'}"]
    for row in found["trials"]:
        value = "" if row["value"] is None else f"  {found['metric']} {row['value']:.4g}"
        reason = f" ({row['reason']})" if row["reason"] else ""
        lines.append(f"  {row['trial']}  {row['state'] + reason:24}{row['kimg']:>9g} kimg{value}")
        lines += [f"        {row['error']}"] if row["error"] else []
    return lines


def answer(experiment: Experiment) -> dict[str, Any]:
    """What the sweep found: its summary, with the experiment's folder and the first error if there was one."""
    events = read(experiment.events)
    records = Records(events)
    found = summarise(experiment.config(), records, events)
    failures = [(r.id, r.failures[-1]["message"]) for r in records.trials.values() if r.failed_for_good]
    first = failures[0] if failures else None
    return {"experiment": str(experiment.folder), **found, "state": _state(experiment, records), "first_error": first}


def answer_lines(found: dict[str, Any]) -> list[str]:
    """The answer in words: the winner, what ended how, where the pictures are, what to do next."""
    where, metric = Experiment(Path(found["experiment"])).shown, found["metric"]["name"]
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
    spent = (
        f" in {clock(found['cost']['hours'] * 3600)}, {found['cost']['kimg']:g} kimg trained" if "cost" in found else ""
    )
    lines = ["", f"{found['name']}: {found['state']}; {counts or 'no trial'}{spent}"]
    winner = found["best"]
    if winner is None:
        lines.append("no trial reached a rung, so there is no best one")
    elif found["front"]:
        lines += _front_lines(found["front"])
    else:
        lines += [*_winner_lines(winner, metric, Path(where)), *_answer_lines(found["answer"], winner, metric)]
    if found["first_error"]:
        trial, message = found["first_error"]
        lines.append(f"first failure: trial {trial}: {message} (trials/{trial}/error.txt)")
    lines += [f"warning: {warning}" for warning in found["warnings"]]
    if found["state"] in ("interrupted", "running"):
        lines.append(f"carry on with: python -m tune_app resume {where}")
    if found["state"] == "budget":
        lines.append(f"the budget is spent; with more of it: python -m tune_app resume {where} --set budget.KEY=HOURS")
    return [*lines, f"next: python -m tune_app best {where}   |   python -m tune_app status {where}"]


def _winner_lines(winner: dict[str, Any], metric: str, where: Path) -> list[str]:
    error = "" if winner["stderr"] is None else f" ± {winner['stderr']:.2g}"
    seen = f" over {winner['draws']} fresh draws" if winner["draws"] else ""
    value = f"{metric} {winner['value']:.4g}{error}{seen} at {winner['kimg']:g} kimg"
    lines = [f"best: trial {winner['trial']}, {value} ({winner['source']})"]
    lines += [f"  {name:16}{short(value)}" for name, value in winner["params"].items()]
    return [*lines, *(f"  {name:16}{where / path}" for name, path in winner["pictures"].items())]


def _answer_lines(answer: dict[str, Any], winner: dict[str, Any], metric: str) -> list[str]:
    """What the winner is worth."""
    lines = []
    if answer["rechecked"]:
        lines.append("measured again with fresh seeds:")
        for row in answer["rechecked"]:
            tied = ", tied with the best" if row["trial"] in answer["tied"] else ""
            lines.append(
                f"  trial {row['trial']}  {metric} {row['value']:.4g} ± {row['stderr']:.2g} "
                f"(the sweep had {row['sweep_value']:.4g}){tied}"
            )
    if answer["tied"]:
        lines.append(f"tied: {', '.join([winner['trial'], *answer['tied']])} differ by less than two standard errors")
    if answer["optimism"] is not None:
        kind = "too good" if answer["optimism"] > 0 else "too bad"
        lines.append(f"the sweep's own best value was {abs(answer['optimism']):.2g} {kind}, at its own budget")
    rungs = [RungVerdict(**verdict) for verdict in answer["rungs"]]
    lines += rung_lines(rungs, [*(rung.kimg for rung in rungs), winner["kimg"]])
    if answer["importances"]:
        shares = (f"{name} {100 * i['share']:.0f} ± {100 * i['sd']:.0f} %" for name, i in answer["importances"].items())
        lines.append(f"importance: {', '.join(shares)}")
    lines += answer["at_bounds"]
    return [*lines, *([f"warning: {answer['disagreement']}"] if answer["disagreement"] else [])]


def _front_lines(front: list[dict[str, Any]]) -> list[str]:
    """The trials between which a person has to choose."""
    lines = [f"the front: {len(front)} trials, none of which another one beats in both objectives"]
    for one in front:
        values = ", ".join(f"{name} {value:.4g}" for name, value in one["values"].items() if value is not None)
        lines.append(f"  trial {one['trial']}  {values}")
        lines.append(f"    {', '.join(f'{name} {short(value)}' for name, value in one['params'].items())}")
    return lines


def exit_code(found: dict[str, Any]) -> int:
    """0 done, 1 no trial succeeded, 130 interrupted and resumable."""
    return {"interrupted": 130, "failed": 1}.get(found["state"], 0)


def _state(experiment: Experiment, records: Records) -> str:
    """The state that the log tells; what runs without a driver was interrupted."""
    return "interrupted" if records.state == "running" and not experiment.held() else records.state


def _row(record: TrialRecord, metric: str) -> dict[str, Any]:
    return {
        "trial": record.id,
        "state": record.state,
        "reason": record.reason,
        "kimg": record.kimg,
        "value": record.value(metric),
        "params": record.params,
        "failures": len(record.failures),
        "error": record.failures[-1]["message"] if record.failures else "",
    }

"""Experiments side by side as one page, which needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from trainables.files import write_file
from tune_app.answer.side_by_side import Competitor, side_by_side_lines
from tune_app.errors import InputError, StorageError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import check_new_file
from tune_app.formatting import clock, short
from tune_app.report.figures import COLOURS, DASHES, Chart
from tune_app.report.pictures import Picture, embedded
from tune_app.report.template import render


@dataclass(frozen=True)
class Row:
    """An experiment in the table."""

    name: str
    trial: str
    value: str
    difference: str
    trials: str
    time: str
    kimg: str
    params: list[str]


def check_new_page(path: Path) -> None:
    """Raise InputError unless a page can be written at `path`."""
    if path.suffix != ".html":
        raise InputError(f"--out {path}: must end in .html", hint="--experiments DIR names the folder of experiments")
    check_new_file(path)


def write_comparison(path: Path, experiments: Sequence[Experiment], competitors: Sequence[Competitor]) -> None:
    """Write the page. Raise StorageError if it cannot be written."""
    try:
        write_file(path, comparison_page(experiments, competitors).encode())
    except OSError as error:
        raise StorageError.of(error, path) from error


def comparison_page(experiments: Sequence[Experiment], competitors: Sequence[Competitor]) -> str:
    """Return the page. The lists name the same experiments in the same order."""
    names = list(dict.fromkeys(name for one in competitors for name in one.params))
    return render(
        "comparison.html",
        [*_best_so_far(competitors), *_values(competitors)],
        title=" and ".join(one.name for one in competitors),
        metric=competitors[0].metric,
        lines=side_by_side_lines(competitors),
        names=names,
        rows=[_row(one, names, competitors[0]) for one in competitors],
        pictures=[*_pictures(experiments)],
    )


def _row(one: Competitor, names: Sequence[str], first: Competitor) -> Row:
    error = "" if one.stderr is None else f" ± {one.stderr:.2g}"
    worse = one is not first and one.worse_by is not None
    return Row(
        name=one.name,
        trial=one.trial or "",
        value="" if one.value is None else f"{one.value:.4g}{error}",
        difference=f"{one.worse_by:.2g} ± {one.worse_by_stderr:.2g}" if worse else "",
        trials=str(one.trials),
        time=clock(3600 * one.cost["hours"]),
        kimg=f"{one.cost['kimg']:g}",
        params=[short(one.params[name]) if name in one.params else "" for name in names],
    )


def _best_so_far(competitors: Sequence[Competitor]) -> Iterator[Chart]:
    """Yield the best value over the training that all trials of an experiment took together."""
    figure, words = go.Figure(), []
    for number, one in enumerate(competitors):
        if not one.best_so_far:
            continue
        end = max(one.cost["kimg"], one.best_so_far[-1][0])
        points = [*one.best_so_far, (end, one.best_so_far[-1][1])]
        figure.add_scatter(
            x=[kimg for kimg, _ in points], y=[value for _, value in points], mode="lines+markers", name=one.name,
            line={"shape": "hv", "dash": DASHES[number % len(DASHES)], "color": COLOURS[number % len(COLOURS)]},
        )  # fmt: skip
        words.append(f"{one.name} reached {one.best_so_far[-1][1]:.4g} after {one.best_so_far[-1][0]:g} kimg")
    if not words:
        return
    metric = competitors[0].metric
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="kimg trained by all trials together")
    figure.update_yaxes(title=metric)
    yield Chart(f"Best {metric} so far, by the sweep's own values", f"{'; '.join(words)}.", figure)


def _values(competitors: Sequence[Competitor]) -> Iterator[Chart]:
    """Yield the value of each winner with its standard error."""
    having = [one for one in competitors if one.value is not None]
    if not having:
        return
    metric = competitors[0].metric
    figure = go.Figure(
        go.Scatter(
            x=[one.value for one in having], y=[one.name for one in having], mode="markers",
            error_x={"type": "data", "array": [one.stderr or 0.0 for one in having]},
            marker={"size": 10, "color": COLOURS[0]},
        )
    )  # fmt: skip
    figure.update_xaxes(title=f"{metric} of the winner, with its standard error")
    figure.update_yaxes(autorange="reversed")
    text = "; ".join(f"{one.name}: {one.value:.4g}" for one in having)
    yield Chart(f"{metric} of each winner", f"{text}.", figure)


def _pictures(experiments: Sequence[Experiment]) -> Iterator[Picture]:
    """Yield the samples of each winner, after the real images of the first experiment."""
    real = embedded("real images", "Held-out images of the data set", experiments[0].real_images)
    if real:
        yield real
    for experiment in experiments:
        best = experiment.best()
        place = best.pictures.get("samples") if best else None
        name = experiment.folder.name
        if best and place:
            caption = f"{name}: trial {best.trial}"
            found = embedded(caption, f"Samples of trial {best.trial} of {name}", experiment.folder / place)
            if found:
                yield found

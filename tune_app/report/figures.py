"""The charts of the report. Each has a title and a text alternative, and draws only what the log holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import plotly.graph_objects as go
from optuna.visualization import plot_parallel_coordinate, plot_slice
from plotly.colors import sample_colorscale

from search_spaces.distributions import Scalar
from trainables.catalog import sign
from tune_app.answer.summary import Summary
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Asked, Ended, Event, SweepEnded
from tune_app.experiment.ranking import ranked
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import short
from tune_app.report.study import searched_values, study_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that people without colour vision tell apart (Okabe and Ito). Lines differ in their dashes as well."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GOOD_TO_BAD = [[0, "#3A9BDC"], [1, "#D55E00"]]
"""Seen on a light and on a dark page."""
SHOWN_TRIALS = 5
FEWEST = 2


@dataclass(frozen=True)
class Chart:
    """One chart of the page."""

    title: str
    text: str
    """The chart in words, for a person who cannot see it."""
    figure: go.Figure
    small: bool = False
    """True for a chart of which several fit side by side."""
    brush: bool = False
    """True if a person can select lines by dragging along an axis."""


def charts(config: SweepConfig, records: Records, events: Sequence[Event], summary: Summary) -> list[Chart]:
    """Return the charts for which the log has data."""
    found: list[Chart] = []
    finished = [record for record in records.searched if record.rungs]
    if len(finished) >= FEWEST:
        found += _parallel(config, finished)
        found += _slices(config, finished)
    found += _importances(summary)
    found += _rungs(config, finished)
    found += _rung_agreement(config, finished)
    if config.model == "ncsn":
        found += _steps(finished, summary)
        found += _levels(finished, config.metric.name)
    if config.model == "beta_vae":
        found += _rate_distortion(finished, config.metric.name)
    found += _timeline(records, events)
    return found


def _parallel(config: SweepConfig, finished: Sequence[TrialRecord]) -> Iterator[Chart]:
    """Yield parallel coordinates: one chart for each combination of values that a `when` asks about."""
    metric = config.metric.name
    for title, records in _branches(config, finished):
        completed = [record for record in records if record.state == "completed"]
        names = [name for name in config.parameters if all(name in searched_values(config, one) for one in completed)]
        varied = [name for name in names if len({str(searched_values(config, one)[name]) for one in completed}) > 1]
        if len(completed) < FEWEST or not varied:
            continue
        figure = plot_parallel_coordinate(study_of(config, completed), params=varied, target_name=metric)
        figure.update_layout(title=None)
        _recolour(figure, [float(one.value(metric) or 0.0) for one in completed], lower_is_better=sign(metric) > 0)
        text = f"{len(completed)} completed trials as lines over {metric} and {', '.join(varied)}. Drag along an axis "
        yield Chart(f"All trials side by side{title}", f"{text}to select trials.", figure, brush=True)


def _recolour(figure: go.Figure, values: Sequence[float], *, lower_is_better: bool) -> None:
    """Colour the lines, one for each value, from good to bad, so that both ends show on a light and on a dark page."""
    scale = GOOD_TO_BAD if lower_is_better else [[0, GOOD_TO_BAD[1][1]], [1, GOOD_TO_BAD[0][1]]]
    low, span = min(values), (max(values) - min(values)) or 1.0
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    for trace, value in zip(lines, values, strict=True):
        trace.line.color = sample_colorscale(scale, [(value - low) / span])[0]
        trace.line.width, trace.opacity = 1.8, 0.8
    figure.update_traces(marker={"colorscale": scale, "reversescale": False}, selector={"mode": "markers"})


def _branches(config: SweepConfig, records: Sequence[TrialRecord]) -> list[tuple[str, list[TrialRecord]]]:
    """Return the trials by the values of the parameters that decide which others are searched."""
    parents = sorted({parent for p in config.parameters.values() for parent in p.when if parent in config.parameters})
    if not parents:
        return [("", list(records))]
    groups: dict[tuple[Scalar, ...], list[TrialRecord]] = {}
    for record in records:
        values = searched_values(config, record)
        if all(parent in values for parent in parents):
            groups.setdefault(tuple(values[parent] for parent in parents), []).append(record)
    names = {key: ", ".join(f"{p} {short(v)}" for p, v in zip(parents, key, strict=True)) for key in groups}
    return [(f": {names[key]}", group) for key, group in groups.items()]


def _slices(config: SweepConfig, finished: Sequence[TrialRecord]) -> Iterator[Chart]:
    completed = [record for record in finished if record.state == "completed"]
    if len(completed) < FEWEST:
        return
    study, metric = study_of(config, completed), config.metric.name
    for name in config.parameters:
        tried = [values[name] for one in completed if name in (values := searched_values(config, one))]
        if len(set(map(str, tried))) < FEWEST:
            continue
        figure = plot_slice(study, params=[name], target_name=metric)
        figure.update_layout(title=None)
        figure.update_traces(marker={"color": COLOURS[0], "showscale": False, "size": 8})
        text = f"{metric} of {len(tried)} completed trials against {name}."
        yield Chart(f"{metric} against {name}", text, figure, small=True)


def _importances(summary: Summary) -> Iterator[Chart]:
    found = summary.answer.importances if summary.answer else None
    if not found:
        return
    names = [*found]
    shares = [100 * one.share for one in found.values()]
    chances = [100 * one.chance for one in found.values()]
    above = [min(100 * one.sd, 100 - 100 * one.share) for one in found.values()]
    below = [min(100 * one.sd, 100 * one.share) for one in found.values()]
    bars = go.Bar(
        x=shares, y=names, orientation="h", marker_color=COLOURS[0], name="share",
        error_x={"type": "data", "symmetric": False, "array": above, "arrayminus": below},
    )  # fmt: skip
    figure = go.Figure(bars)
    figure.add_scatter(
        x=[min(100, chance) for chance in chances], y=names, mode="markers", name="by chance",
        marker={"symbol": "line-ns-open", "size": 24, "line": {"width": 3}, "color": COLOURS[1]},
    )  # fmt: skip
    figure.update_xaxes(title="share in %", range=[0, 100])
    figure.update_yaxes(autorange="reversed")
    words = (f"{name} {share:.0f} % (by chance up to {min(100, chance):.0f} %)"
             for name, share, chance in zip(names, shares, chances, strict=True))  # fmt: skip
    yield Chart("Importance of each parameter", ", ".join(words) + ".", figure)


def _rungs(config: SweepConfig, finished: Sequence[TrialRecord]) -> Iterator[Chart]:
    metric = config.metric.name
    if len(config.rungs) < 2 or not finished:
        return
    figure = go.Figure()
    for record in finished:
        points = [(rung.kimg, value) for rung in record.rungs if (value := rung.metrics.get(metric)) is not None]
        baseline = record.source == "baseline"
        figure.add_scatter(
            x=[kimg for kimg, _ in points], y=[value for _, value in points], mode="lines+markers", name=record.id,
            line={"dash": "dash" if baseline else "solid", "width": 1.5, "color": COLOURS[1 if baseline else 0]},
            showlegend=False, hovertemplate=f"trial {record.id}<br>%{{x}} kimg: %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    stopped = [record for record in finished if record.state == "stopped" and record.value(metric) is not None]
    figure.add_scatter(
        x=[record.rungs[-1].kimg for record in stopped], y=[record.value(metric) for record in stopped],
        mode="markers", marker={"symbol": "x", "size": 10, "color": COLOURS[3]}, name="stopped", hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title="kimg (thousands of training images)", type="log", tickvals=config.rungs)
    figure.update_yaxes(title=metric)
    text = f"{metric} at each rung of {len(finished)} trials, baselines dashed; {len(stopped)} were stopped (crosses)."
    yield Chart(f"{metric} over training", text, figure)


def _rung_agreement(config: SweepConfig, finished: Sequence[TrialRecord]) -> Iterator[Chart]:
    metric, last = config.metric.name, config.rungs[-1]
    figure, words = go.Figure(), []
    for number, rung in enumerate(config.rungs[:-1]):
        at = {record.id: _value_at(record, rung, metric) for record in finished}
        end = {record.id: _value_at(record, last, metric) for record in finished}
        pairs = [
            (early, end[trial], trial) for trial, early in at.items() if early is not None and end[trial] is not None
        ]
        if len(pairs) < FEWEST:
            continue
        figure.add_scatter(
            x=[early for early, _, _ in pairs], y=[final for _, final, _ in pairs], mode="markers",
            name=f"{rung:g} kimg", text=[trial for _, _, trial in pairs],
            marker={"symbol": number, "size": 9, "color": COLOURS[number % len(COLOURS)]},
        )  # fmt: skip
        words.append(f"{len(pairs)} trials at {rung:g} kimg")
    if not words:
        return
    figure.update_xaxes(title=f"{metric} at the rung")
    figure.update_yaxes(title=f"{metric} at {last:g} kimg")
    yield Chart(
        "How well each rung predicts the end", f"{metric} at a rung against the end: {', '.join(words)}.", figure
    )


def _value_at(record: TrialRecord, kimg: float, metric: str) -> float | None:
    return next((rung.metrics.get(metric) for rung in record.rungs if rung.kimg == kimg), None)


def _steps(finished: Sequence[TrialRecord], summary: Summary) -> Iterator[Chart]:
    """Yield kid against the Langevin step of the winner, at each rung."""
    trial = summary.best.trial if summary.best else ""
    record = next((one for one in finished if one.id == trial), None)
    if record is None:
        return
    figure, words = go.Figure(), []
    for number, rung in enumerate(record.rungs):
        rows = [(row.get("step_size"), row.get("kid")) for row in rung.curve]
        points = sorted((float(step), float(kid)) for step, kid in rows if step is not None and kid is not None)
        if len(points) < FEWEST:
            continue
        words.append(f"at {rung.kimg:g} kimg the best step is {short(min(points, key=lambda point: point[1])[0])}")
        figure.add_scatter(
            x=[step for step, _ in points], y=[kid for _, kid in points], mode="lines+markers",
            name=f"{rung.kimg:g} kimg",
            line={"dash": DASHES[number % len(DASHES)], "color": COLOURS[number % len(COLOURS)]},
        )  # fmt: skip
    if not words:
        return
    figure.update_xaxes(title="Langevin step size", type="log")
    figure.update_yaxes(title="kid")
    yield Chart(f"kid against the Langevin step, trial {trial}", f"Trial {trial}: {'; '.join(words)}.", figure)


def _levels(finished: Sequence[TrialRecord], metric: str) -> Iterator[Chart]:
    having = [record for record in ranked(finished, metric) if record.rungs[-1].levels][:SHOWN_TRIALS]
    if not having:
        return
    figure = go.Figure()
    for number, record in enumerate(having):
        levels = record.rungs[-1].levels
        figure.add_scatter(
            x=[level["sigma"] for level in levels], y=[level["loss"] for level in levels], mode="lines+markers",
            name=f"trial {record.id}", line={"dash": DASHES[number], "color": COLOURS[number]},
        )  # fmt: skip
    figure.update_xaxes(title="noise level sigma", type="log")
    figure.update_yaxes(title="held-out denoising loss", type="log")
    names = ", ".join(record.id for record in having)
    yield Chart("Loss at each noise level", f"Held-out denoising loss over the noise level, trials {names}.", figure)


def _rate_distortion(finished: Sequence[TrialRecord], metric: str) -> Iterator[Chart]:
    points = [
        (kl, mse, record)
        for record in finished
        if (kl := record.value("kl")) is not None and (mse := record.value("recon_mse")) is not None
    ]
    if len(points) < FEWEST:
        return
    figure = go.Figure(
        go.Scatter(
            x=[kl for kl, _, _ in points], y=[mse for _, mse, _ in points], mode="markers+text",
            text=[record.id for _, _, record in points], textposition="top center",
            marker={
                "size": 10, "colorscale": "Cividis", "showscale": True, "colorbar": {"title": metric},
                "color": [record.value(metric) for _, _, record in points],
            },
        )
    )  # fmt: skip
    figure.update_xaxes(title="rate: KL in nats")
    figure.update_yaxes(title="distortion: squared error per pixel", type="log")
    text = f"KL against the squared error of reconstructions for {len(points)} trials, coloured by {metric}."
    yield Chart("Rate and distortion", text, figure)


def _timeline(records: Records, events: Sequence[Event]) -> Iterator[Chart]:
    """Yield which trial occupied which slot when. The log has no slots: the first free one is taken."""
    spans = _spans(events)
    if not spans:
        return
    rows: list[datetime] = []
    figure, busy = go.Figure(), 0.0
    styles = {"completed": (COLOURS[2], ""), "stopped": (COLOURS[3], "/"), "failed": (COLOURS[1], "x")}
    for trial, (began, end) in sorted(spans.items(), key=lambda item: item[1][0]):
        row = next((index for index, free in enumerate(rows) if free <= began), len(rows))
        rows[row : row + 1] = [end]
        seconds = (end - began).total_seconds()
        busy += seconds
        colour, pattern = styles.get(records.trials[trial].state, (COLOURS[0], "."))
        figure.add_bar(
            base=[began.isoformat()], x=[1000 * seconds], y=[f"slot {row + 1}"], orientation="h", name=trial,
            marker={"color": colour, "pattern": {"shape": pattern}, "line": {"width": 1, "color": "#888"}},
            text=trial, showlegend=False,
            hovertemplate=f"trial {trial}, {records.trials[trial].state}<br>{seconds:.0f} s<extra></extra>",
        )  # fmt: skip
    first, last = min(began for began, _ in spans.values()), max(end for _, end in spans.values())
    whole = (last - first).total_seconds() * len(rows)
    idle = 0.0 if not whole else 100 * max(0.0, 1 - busy / whole)
    figure.update_xaxes(type="date")
    figure.update_layout(barmode="overlay")
    text = f"{len(spans)} trials on {len(rows)} slots; no trial ran on {idle:.0f} % of that time."
    yield Chart("When each trial ran", text, figure)


def _spans(events: Sequence[Event]) -> dict[str, tuple[datetime, datetime]]:
    """Return when each trial was asked for and when it ended, or the end of the log."""
    began: dict[str, datetime] = {}
    ended: dict[str, datetime] = {}
    for event in events:
        time = datetime.fromisoformat(event.time)
        if isinstance(event, Asked):
            began[event.trial] = time
        elif isinstance(event, Ended):
            ended[event.trial] = time
        elif isinstance(event, SweepEnded):
            ended = {**dict.fromkeys(began, time), **ended}
    last = datetime.fromisoformat(events[-1].time) if events else datetime.min
    return {trial: (start, ended.get(trial, last)) for trial, start in began.items()}

"""A W&B workspace for one sweep, through the optional package wandb-workspaces."""

from __future__ import annotations

from tune_app.config.schema import SweepConfig

PICTURES = ("samples", "reconstructions", "traversal", "interpolation")


def save(config: SweepConfig, *, name: str, entity: str, project: str, sweep: str) -> str:
    """Make a workspace of the sweep's own runs; its address. Raises ImportError where the package is missing."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    metric = config.metric.name
    columns = [panels.ParallelCoordinatesPlotColumn(metric=f"c::{parameter}") for parameter in config.parameters]
    shown = [
        panels.ParallelCoordinatesPlot(columns=[*columns, panels.ParallelCoordinatesPlotColumn(metric=metric)]),
        panels.ParameterImportancePlot(with_respect_to=metric),
        panels.LinePlot(x="kimg", y=[metric], title="rungs"),
        panels.LinePlot(x="kimg", y=["train_loss"]),
        panels.MediaBrowser(media_keys=list(PICTURES)),
    ]
    made = workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[workspaces.Section(name="Sweep", panels=shown, is_open=True)],
        runset_settings=workspaces.RunsetSettings(filters=f"Sweep = '{sweep}'"),
    )
    return str(made.save().url)

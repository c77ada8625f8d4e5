"""Export a trained model: weights, a description from which it is rebuilt, a model card and sample images."""

from __future__ import annotations

from pathlib import Path

from trainables.files import new_folder, write_file
from tune_app.answer.retraining import Retrained, metric_table, other_metrics, retrained, retrained_sentences
from tune_app.commands.model_source import Source, trained_model
from tune_app.errors import StorageError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.model_code import copies
from tune_app.experiment.out_folder import check_new_folder
from tune_app.experiment.ranking import TrialResult
from tune_app.formatting import short

SHOWN, COLUMNS = 64, 8
CARD = """# {name}

A {model} with {parameters:,} parameters for images of {shape}. It was exported by tune_app {version}.

![samples](samples.png)

## Use

```python
import tune_app
from torchvision.utils import save_image

model = tune_app.load_model("PATH OF THIS FOLDER"{code})
images = model.sample(64, seed=0)          # (64, {channels}, {side}, {side}) in [0, 1]
save_image(images, "images.png")
```

The same seed gives the same images on the same kind of processor. `model.safetensors` holds the averaged weights, and
`config.json` everything else that the model needs.

## Data

{data}

## How good it is

{quality}

## How it was found

{found}

## Settings

{settings}

## Licence

The owner of this model has not chosen a licence yet. The images that it was trained on may have terms of their own.
"""


def export(where: str, experiments: Path, trial: str | None, out: Path) -> Path:
    """Write the folder `out` and return it. Raise InputError if it exists, or if there is no such model."""
    check_new_folder(out)
    source = trained_model(where, experiments, trial)

    from trainables.pictures import png

    picture = png(source.model.sample(SHOWN, seed=0), COLUMNS)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(out) as unfinished:
            source.model.save(unfinished)
            write_file(unfinished / "samples.png", picture)
            write_file(unfinished / "README.md", _card(source).encode())
            for name, text in copies(source.model.name).items():
                write_file(unfinished / name, text)
    except OSError as error:
        raise StorageError.of(error, out) from error
    return out


def _card(source: Source) -> str:
    from tune_app import __version__

    model, result, experiment = source.model, source.result, source.experiment
    channels, side, _ = model.images.shape
    settings = {**model.params, **model.sampling}
    name, quality = model.name, "It was exported from a checkpoint, without a sweep."
    if experiment and result:
        name, quality = f"{experiment.config().name}, trial {result.trial}", _quality(experiment, result)
    return CARD.format(
        name=name,
        model=model.name,
        code=_code_option(model.name),
        parameters=sum(weight.numel() for weight in model.network.parameters()),
        shape=f"{side} x {side} pixels in {channels} channel{'s' * (channels > 1)}",
        channels=channels,
        side=side,
        version=__version__,
        data=_data(source),
        quality=quality,
        found=_found(source),
        settings="\n".join(f"- {name}: {short(value)}" for name, value in settings.items()),
    )


def _code_option(model: str) -> str:
    """Return the argument that names the files which define the model; no file is run unless a person names it."""
    files = ", ".join(f'"PATH OF THIS FOLDER/{name}"' for name in copies(model))
    return f", models=[{files}]" if files else ""


def _data(source: Source) -> str:
    if source.data is None:
        return "It was exported from the folder of an exported model, which does not name its images."
    images = source.data
    if source.experiment and source.experiment.config().retraining:
        return (
            f"{len(images.train):,} training images, those that the sweep held out included, fingerprint "
            f"{images.fingerprint}. The metrics are from {len(images.held_out):,} test images."
        )
    return (
        f"{len(images.train):,} training images, fingerprint {images.fingerprint}. "
        f"{len(images.held_out):,} more images were held out for the metrics."
    )


def _quality(experiment: Experiment, result: TrialResult) -> str:
    """Return the metrics of the trial at its end, and what they are."""
    config = experiment.config()
    if config.retraining:
        return "\n".join(_retrained_quality(retrained(config, config.retraining, experiment.read_records())))
    basis = (
        f"the mean over {len(result.trainings)} other trainings of this setting, not of these weights"
        if result.trainings
        else f"the mean over {result.draws} draws with fresh seeds"
        if result.draws
        else "as the sweep measured it once"
    )
    metric = config.metric.name
    value = "missing" if result.value is None else _with_error(result.value, result.stderr)
    lines = [f"The sweep optimised {metric}. It is {value}, {basis}."]
    lines += ["", "| metric | at the end of the training |", "|---|---|"]
    lines += [f"| {name} | {value:.5g} |" for name, value in sorted(result.metrics.items()) if value is not None]
    return "\n".join(lines)


def _retrained_quality(answer: Retrained) -> list[str]:
    """Return the values on the test images as Markdown: all trainings, because none was chosen by them."""
    lines = [" ".join(retrained_sentences(answer)), "These weights are from the first training."]
    for table in (metric_table(answer), other_metrics(answer)):
        head, *rows = (f"| {' | '.join(cells)} |" for cells in table)
        lines += ["", head, "|" + "---|" * len(table[0]), *rows] if rows else []
    return lines


def _with_error(value: float, stderr: float | None) -> str:
    return f"{value:.4g}" + ("" if stderr is None else f" ± {stderr:.2g}")


def _found(source: Source) -> str:
    if source.experiment is None or source.result is None:
        return "It was exported from a checkpoint."
    config, result = source.experiment.config(), source.result
    if config.retraining:
        setting = config.retraining.settings[int(result.trial) % len(config.retraining.settings)]
        return (
            f"It is training {result.trial} of a retraining of {Path(config.retraining.experiment).name}: the setting "
            f"of its trial {setting.trial}, from scratch, seed {config.search.seed}, "
            f"{result.kimg:g} thousand training images. It was not chosen by the test images."
        )
    searched = ", ".join(config.parameters)
    return (
        f"Trial {result.trial} ({result.source}) of a sweep over {searched} that optimised {config.metric.name}: "
        f"{config.search.trials} trials by {config.search.sampler}, seed {config.search.seed}, "
        f"{result.kimg:g} thousand training images for a full trial."
    )

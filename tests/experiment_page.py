"""Writes docs/experiment.md from the typed events: `python -m tests.experiment_page > docs/experiment.md`."""

from __future__ import annotations

from tune_app.experiment.events import EVENTS, LoggedEvent, expectation

FILES = {
    "sweep.yaml": "The resolved configuration, with every default written out.",
    "manifest.json": "Versions, hardware, profile, command, source file, seed, fingerprints of images and features.",
    "events.jsonl": "The event log. Everything else can be made again from it, except checkpoints and pictures.",
    "study.journal": "The Optuna study, rebuilt from the log at every start. Any Optuna tool can read it.",
    "features.pt": "Weights of the trained `cnn` features, if the sweep's metrics use them.",
    "trials/ID/": "One folder for each trial. ID is the trial's number, four digits or more.",
    "trials/ID/checkpoint_IMAGES/": "A checkpoint after IMAGES training images: `state.pt` (or `state.json`) and "
    "`about.json`. With `storage` it lies at that address instead.",
    "trials/ID/NAME-KIMG.png": "Pictures of an evaluation: samples and the model's own. `NAME-final.png` comes from "
    "the re-evaluation.",
    "trials/ID/error.txt": "The traceback of the last failure.",
    "trials/ID/worker.log": "Output of the trial's workers before its last failure, if they ran on a private "
    "Ray. A cluster's dashboard has the output of its workers.",
    "real-images.png": "Held-out images, as many and as large as the samples of a trial.",
    "driver.log": "Every line that the driver printed, with its UTC time.",
    "summary.json": "The answer, written at the end of every session. `run --json` and `best --json` print it.",
    "report.html": "The answer as a page: charts, pictures and a table of all trials. `report` writes it anew.",
    "wandb.json": "The W&B Sweep of the experiment, and the runs that W&B has completely.",
    ".lock": "The resume lock. It names the process that runs the experiment.",
    ".lock.holder": "The process that runs the experiment, where the folder's disk has no locks.",
    ".wandb.lock": "The same for the process that sends the log to W&B.",
    ".stop/": "Requests to the driver, one empty file each.",
    ".queue/": "A file for each point that `enqueue` added and that no trial has taken yet.",
    ".park": "While it exists, running trials write a checkpoint and wait.",
}


def page() -> str:
    """Return the page."""
    lines = [
        "# The experiment folder",
        "",
        "A sweep keeps everything in one folder, `<out>/<name>-<YYYYmmdd-HHMMSS>/`. The code generates this page:",
        "",
        "    python -m tests.experiment_page > docs/experiment.md",
        "",
        "| file | content |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in FILES.items()),
        "",
        "## The events",
        "",
        "Each line of `events.jsonl` is one JSON object. Its field `event` names its kind. The line is flushed to disk",
        "before anything else uses it. A field marked *optional* may be missing. Readers ignore unknown fields.",
        "",
    ]
    for kind, event in EVENTS.items():
        lines += [*_section(kind, event), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(kind: str, event: type[LoggedEvent]) -> list[str]:
    rows = []
    for name, field in event.model_fields.items():
        if name != "event":
            optional = "" if field.is_required() else " (optional)"
            text = (field.description or "").replace("\n", " ")
            rows.append(f"| `{name}`{optional} | {expectation(event, name)} | {text} |")
    return [f"### `{kind}`", "", f"{event.__doc__}", "", "| field | must be | meaning |", "|---|---|---|", *rows]


if __name__ == "__main__":
    print(page(), end="")

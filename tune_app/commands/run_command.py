"""The `run` command line of a sweep on a cluster. It resumes the experiment if it exists, so a retry loses nothing."""

from collections.abc import Iterable

from tune_app.config.selection import Selection


def run_command(space: str, experiment: str, selection: Selection, models: Iterable[str] = ()) -> list[str]:
    """Return the words of the command that runs the file `space` as `experiment`, without --out.

    `models` are the files of the user's models, where the command finds them.
    """
    options = {
        "profile": selection.profile,
        "data": selection.data,
        "trials": selection.trials,
        "seed": selection.seed,
        "wandb": selection.wandb,
    }
    words = ["python", "-m", "tune_app", "run", space, "--resume", experiment, "--address", "auto"]
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    for option, values in (("--set", selection.sets), ("--fix", selection.fixes)):
        for key, value in values.items():
            words += [option, f"{key}={value}"]
    return [*words, *(word for file in models for word in ("--models", file))]

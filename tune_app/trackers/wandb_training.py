"""A single training run as one W&B run: losses and pictures of each epoch, named as in the reference project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tune_app.config.schema import WandbConfig
from tune_app.errors import TuneAppError, first_line
from tune_app.trackers.wandb_names import QUIET, TRAINING, wandb_name

if TYPE_CHECKING:
    import wandb

CONNECT_SECONDS, FINISH_SECONDS = 20.0, 60.0
RESUMABLE = 130
"""Exit code of a training that was interrupted."""
LogEpoch = Callable[[int, Mapping[str, float], Mapping[str, float], Mapping[str, Path]], None]
"""Takes the epoch, its mean losses, the metrics of an evaluation and the pictures written."""


@contextmanager
def wandb_run(path: Path, config: Mapping[str, object], mode: str, say: Callable[[str], None]) -> Iterator[LogEpoch]:
    """Yield the function that sends an epoch to the W&B run of the folder `path`.

    The run's id is the folder's name, so a resumed training continues its run. If W&B cannot be reached, wandb keeps
    the run in the folder, and a sentence says how to send it.
    """
    if mode == "disabled":
        yield lambda *_: None
        return
    run, kept = _start(path, config, mode, say)

    def log_epoch(
        epoch: int, losses: Mapping[str, float], metrics: Mapping[str, float], pictures: Mapping[str, Path]
    ) -> None:
        import wandb

        row: dict[str, object] = {"epoch": epoch, "epoch_loss": losses["loss"]}
        row.update({wandb_name(f"{TRAINING}{name}"): value for name, value in losses.items() if name.endswith("loss")})
        row.update({wandb_name(name): value for name, value in metrics.items()})
        for name, picture in pictures.items():
            row["generated_samples" if name == "samples" else name] = wandb.Image(str(picture))
        with suppress(Exception):  # training goes on whatever happens to W&B
            run.log(row, step=epoch)

    code = 1
    try:
        yield log_epoch
        code = 0
    except TuneAppError as error:
        if error.exit_code == RESUMABLE:
            run.mark_preempting()
        raise
    finally:
        try:
            run.finish(exit_code=code)
        except Exception as error:  # wandb has many, and the training is done
            say(f"W&B does not have everything: {first_line(error)}")
        if kept:
            say(f"this run is not in W&B yet; to send it: wandb sync {kept}")


def _start(
    path: Path, config: Mapping[str, object], mode: str, say: Callable[[str], None]
) -> tuple[wandb.Run, Path | None]:
    """Return the run, and the folder from which it must be sent later, if W&B does not have it."""
    os.environ.pop("WANDB_SWEEP_ID", None)  # with it, wandb.init ignores project and id
    os.environ["WANDB_SILENT"] = "true"
    if mode == "online":
        try:
            run = _init(path, config, "online")
        except Exception as error:  # wandb has many, and training does not depend on it
            say(f"W&B is unreachable ({first_line(error)}); training goes on, and the run is kept in its folder")
        else:
            say(f"W&B run: {run.url}")
            return run, None
    run = _init(path, config, "offline")
    return run, Path(run.dir).parent


def _init(path: Path, config: Mapping[str, object], mode: Literal["online", "offline"]) -> wandb.Run:
    import wandb

    return wandb.init(
        project=os.environ.get("WANDB_PROJECT") or WandbConfig().project,
        id=path.name,
        name=path.name,
        dir=str(path),
        config=dict(config),
        mode=mode,
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(
            init_timeout=CONNECT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True, **QUIET
        ),
    )

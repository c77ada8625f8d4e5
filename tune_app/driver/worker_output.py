"""The output of a trial's workers. It is kept with the trial if the trial fails."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trainables.ray_worker import BEGINS
from tune_app.experiment.folder import Experiment

MOST_BYTES = 100_000
"""Length of the output that is kept, counted from its end."""
RAYS_OWN = (":actor_name:", ":task_name:", ":job_id:")
"""Prefixes of the lines that Ray itself writes into the output of a worker."""


def keep_worker_output(experiment: Experiment, trial: str, logs: Path) -> None:
    """Write what the workers of `trial` on this machine have printed to trials/<id>/worker.log.

    `logs` is Ray's folder of log files. Write no file if the workers have printed nothing.
    """
    printed = "".join(part for path in sorted(logs.glob("worker-*")) for part in _printed(path, trial))
    if printed.strip():
        with suppress(OSError), experiment.worker_log(trial).open("w", encoding="utf-8") as file:
            file.write(printed[-MOST_BYTES:])


def _printed(path: Path, trial: str) -> Iterator[str]:
    """Yield the lines of a log file that belong to the trial. A worker's file holds its trials one after the other."""
    ours = False
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(BEGINS):
                ours = line.removeprefix(BEGINS).strip() == trial
            elif ours and not line.startswith(RAYS_OWN):
                yield line

"""The process beside the driver that sends the log to W&B. Training never waits for it, and it can be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from tune_app.config.schema import WandbConfig
from tune_app.experiment.folder import Experiment
from tune_app.trackers.wandb_key import wandb_mode

GRACE_SECONDS = 3.0


@contextmanager
def wandb_process(wandb: WandbConfig, experiment: Experiment, note: Callable[[str], None]) -> Iterator[None]:
    """Send the log to W&B while the block runs, and for at most `finish_timeout` seconds after it."""
    mode = wandb_mode(wandb)
    sync_command = f"python -m tune_app sync {experiment.shown}"
    if mode != "online":
        yield
        if mode != "disabled":
            note(f"this sweep is not in W&B yet; to send it: {sync_command}")
        return
    command = [sys.executable, "-m", "tune_app", "sync", str(experiment.folder), "--follow"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,  # so that Ctrl-C reaches the driver alone
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    printer = threading.Thread(target=_print_lines, args=(process.stdout, note), daemon=True)
    printer.start()
    try:
        yield
    finally:
        process.stdin.close()
        code: int | None
        try:
            code = process.wait(timeout=wandb.finish_timeout)
        except subprocess.TimeoutExpired:
            code = None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also ends the processes that wandb started
        process.wait()
        printer.join(GRACE_SECONDS)
        process.stdout.close()
        if code:
            note(f"W&B does not have everything; to send the rest: {sync_command}")
        elif code is None:
            note(f"W&B took more than {wandb.finish_timeout:g} s; to send the rest: {sync_command}")


def _print_lines(lines: Iterable[str], note: Callable[[str], None]) -> None:
    for line in lines:
        note(line.rstrip("\n"))

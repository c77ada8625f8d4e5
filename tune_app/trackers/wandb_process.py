"""The process beside the driver that sends the log to W&B. Training never waits for it, and it can be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory

from tune_app.config.schema import WandbConfig
from tune_app.experiment.folder import Experiment
from tune_app.trackers.wandb_key import wandb_mode

GRACE_SECONDS = 3.0
MOST_STARTS = 4


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
    with TemporaryDirectory(prefix="tune_app-wandb-", ignore_cleanup_errors=True) as scratch:
        mirror = _Mirror(experiment, scratch, note)
        try:
            yield
        finally:
            code = mirror.end(wandb.finish_timeout)
    if code:
        note(f"W&B does not have everything; to send the rest: {sync_command}")
    elif code is None:
        note(f"W&B took more than {wandb.finish_timeout:g} s; to send the rest: {sync_command}")


class _Mirror:
    """The running process. If it dies, it is started again and continues with the first report that W&B lacks."""

    def __init__(self, experiment: Experiment, scratch: str, note: Callable[[str], None]) -> None:
        self._command = [sys.executable, "-m", "tune_app", "sync", str(experiment.folder), "--follow"]
        self._scratch, self._note, self._ending = scratch, note, False
        self._process = self._start()
        self._watch = threading.Thread(target=self._follow, daemon=True)
        self._watch.start()

    def end(self, timeout: float) -> int | None:
        """Let the process send the rest, and end it. Return its exit code, or None if it took longer than `timeout`."""
        self._ending = True
        process = self._process
        assert process.stdin
        with suppress(OSError):
            process.stdin.close()
        code: int | None
        try:
            code = process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            code = None
        _kill(process)
        self._watch.join(GRACE_SECONDS)
        return code

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 (our own command)
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "TMPDIR": self._scratch},
            start_new_session=True,  # so that Ctrl-C reaches the driver alone
        )  # fmt: skip

    def _follow(self) -> None:
        """Print the lines of the process, and start it again while the sweep runs."""
        for start in range(1, MOST_STARTS + 1):
            assert self._process.stdout
            with self._process.stdout as lines:
                for line in lines:
                    self._note(line.rstrip("\n"))
            if self._ending:
                return
            _kill(self._process)
            if start == MOST_STARTS:
                self._note("the process that sends the sweep to W&B ended again and is not restarted")
                return
            self._note("the process that sends the sweep to W&B ended unexpectedly; starting it again")
            self._process = self._start()


def _kill(process: subprocess.Popen[str]) -> None:
    """End the process and those that wandb started for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

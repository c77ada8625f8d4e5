"""The process beside the driver that brings the log into W&B: training never waits for it, and it can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tune_app.config.schema import WandbConfig
from tune_app.experiment.folder import Experiment

GRACE_SECONDS = 3.0


@contextmanager
def reported(wandb: WandbConfig, experiment: Experiment, say: Callable[[str], None]) -> Iterator[None]:
    """Within it, the log is brought into W&B; afterwards for at most `finish_timeout` seconds more."""
    mode = os.environ.get("WANDB_MODE", "auto") if wandb.mode == "auto" else wandb.mode
    if mode in ("offline", "disabled") or (mode == "auto" and not _may_have_key()):
        yield
        if mode != "disabled":
            say(f"not in W&B yet; to bring it there: {_later(experiment)}")
        return
    command = [sys.executable, "-m", "tune_app", "sync", str(experiment.folder), "--follow"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,  # a Ctrl-C is the driver's to answer
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    listener = threading.Thread(target=_repeat, args=(process.stdout, say), daemon=True)
    listener.start()
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
            os.killpg(process.pid, signal.SIGKILL)  # and what wandb started
        process.wait()
        listener.join(GRACE_SECONDS)
        process.stdout.close()
        if code:
            say(f"not all of it is in W&B; to send the rest: {_later(experiment)}")
        elif code is None:
            say(f"W&B took more than {wandb.finish_timeout:g} s; to send the rest: {_later(experiment)}")


def _repeat(lines: Iterator[str], say: Callable[[str], None]) -> None:
    for line in lines:
        say(line.rstrip("\n"))


def _later(experiment: Experiment) -> str:
    return f"python -m tune_app sync {experiment.shown}"


def _may_have_key() -> bool:
    """Whether it is worth asking wandb, which takes a second: it reads keys from no other places."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return netrc.exists() or netrc.with_name("_netrc").exists()

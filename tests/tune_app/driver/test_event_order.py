"""Whatever happens to the trials, the driver writes a log whose every prefix can be read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError, RayActorError

from tests.tune_app.driver.sessions import LocalSession
from trainables.trial import Report
from tune_app.config.load import load
from tune_app.driver.scheduler import SweepScheduler, make_rung_book
from tune_app.driver.study import rebuild_study
from tune_app.driver.tune_trial import TuneTrial
from tune_app.experiment.log import read
from tune_app.experiment.records import Records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
CONFIG = load(
    "ncsn_space.yaml",
    profile="laptop",
    set={
        "parameters.steps_per_level": "{type: categorical, choices: [0, 1], stage: sampling}",
        "search.trials": 3, "search.sampler": "random", "baselines": "[]", "resources.gpu": 0.5, "failures.retries": 1,
        "scheduler.trust": "null", "scheduler.max_kimg": 9.0, "scheduler.grace_kimg": 3.0,
    },
)  # fmt: skip
ERRORS = [RayActorError(), OutOfMemoryError("the node"), ValueError("x"), RuntimeError("CUDA out of memory")]
OUTCOMES = st.sampled_from(
    ["start", "report", "rung", "nan", "nothing", "parked", "error", "lost", "stop", "late", "person"]
)


@pytest.fixture(scope="module", autouse=True)
def no_tune_folder() -> Iterator[None]:
    """Keep Tune from writing its own error file, which needs a running Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TuneTrial, "local_path", None)
        yield


class Life:
    """A driver and its workers. Each outcome happens to one of the running trials."""

    def __init__(self, folder: Path) -> None:
        self.local = LocalSession(CONFIG, folder, slots=2)
        self.scheduler = SweepScheduler(self.local.session, make_rung_book(self.local.session), self.local.stopping)
        self.running: list[TuneTrial] = []
        self.returned: list[TuneTrial] = []

    def happen(self, outcome: str, which: int) -> None:
        """Let one thing happen as Tune would report it."""
        if outcome == "start":
            if (started := self.local.searcher.next_trial()) is not None:
                self.running.append(started)
            return
        if outcome == "late" and self.returned:  # Tune fails a trial again if a callback raises
            late = self.returned[which % len(self.returned)]
            late.handle_error(ValueError("late"))
            self.scheduler.on_trial_error(None, late)
        if not self.running or outcome == "late":
            return
        trial = self.running[which % len(self.running)]
        if outcome == "person":
            self.local.stopping.requests._stopped.add(trial.trial_id)
        elif outcome in ("error", "lost"):
            self._fail(trial, ERRORS[which % len(ERRORS)], given_up=outcome == "lost")
        elif outcome == "stop" or self.scheduler.on_trial_result(None, trial, self._result(trial, outcome)) == "STOP":
            self._complete(trial)

    def _result(self, trial: TuneTrial, outcome: str) -> dict[str, Any]:
        if outcome in ("nothing", "parked"):
            return {"failed": "loss is nan"} if outcome == "nothing" else {"parked": True}
        kimg = self.local.records.trials[trial.trial_id].kimg
        mark = min([kimg + 1] + [rung for rung in CONFIG.rungs if rung > kimg])
        value = float("nan") if outcome == "nan" else 1 / (mark + int(trial.trial_id))
        report = Report(
            mark, 1.0, mark in CONFIG.rungs, {"kid": value} if mark in CONFIG.rungs else {"train_loss": value}
        )
        if report.rung:
            report.sampling, report.settled = (
                {"steps_per_level": 0, "step_lr": 0},
                {"steps_per_level": 3, "step_lr": 2e-5},
            )
        return {"report": report, "checkpoint": f"checkpoint_{round(1000 * mark):09d}", "parked": False}

    def _fail(self, trial: TuneTrial, error: Exception, *, given_up: bool) -> None:
        trial.handle_error(error)
        self.scheduler.on_trial_error(None, trial)
        if given_up or not trial.should_recover():
            self._complete(trial, error=True)

    def _complete(self, trial: TuneTrial, *, error: bool = False) -> None:
        self.running.remove(trial)
        self.returned.append(trial)
        self.local.searcher.on_trial_complete(trial.trial_id, error=error)


@settings(max_examples=30, deadline=None)
@given(outcomes=st.lists(st.tuples(OUTCOMES, st.integers(0, 7)), min_size=8, max_size=60))
def test_every_prefix_of_the_log_reads_back_and_rebuilds_the_study(outcomes: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        life = Life(Path(folder))
        with closing(life.local.log):
            for outcome, which in outcomes:
                life.happen(outcome, which)
            assert life.local.stopping.interruption.fault is None
            log = life.local.session.experiment.events
            lines = log.read_bytes().splitlines(keepends=True)
            for count in range(len(lines) + 1):
                log.write_bytes(b"".join(lines[:count]))
                records = Records(read(log))
                assert len(records.trials) <= 3
            rebuild_study(life.local.session.experiment, CONFIG, read(log))

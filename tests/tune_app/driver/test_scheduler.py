"""The scheduler: what it logs, and the decision that it gives Tune."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.events import asked
from tests.tune_app.driver.sessions import LocalSession
from trainables import storage
from trainables.trial import Report
from tune_app.config.load import load
from tune_app.driver.scheduler import SweepScheduler, make_rung_book
from tune_app.experiment.events import Failed, Reported

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
ALWAYS_TRUSTED = {
    "scheduler.trust": "null",
    "scheduler.max_kimg": 9.0,
    "scheduler.grace_kimg": 3.0,
    "scheduler.rungs": [3.0, 9.0],
}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalSession]:
    """A Beta-VAE sweep on a metric to maximise, with rungs at 3 and 9 kimg that are always trusted."""
    changes = {**ALWAYS_TRUSTED, "metric.name": "factorvae", "fixed.kl_warmup_kimg": 1.0, "baselines": "[]"}
    local = LocalSession(load("beta_vae_space.yaml", profile="laptop", set=changes), tmp_path)
    yield local
    local.log.close()


class Scheduling:
    """A scheduler, and reports as Tune delivers them."""

    def __init__(self, local: LocalSession) -> None:
        self.local = local
        self.scheduler = SweepScheduler(local.session, make_rung_book(local.session), local.stopping)

    def report(self, trial: str, kimg: float, value: float | None, checkpoint: str | None = None) -> str:
        """Deliver one report, at a rung if it has a value."""
        if trial not in self.local.records.trials:
            self.local.log.append(asked(trial))
        metrics = {} if value is None else {"factorvae": value}
        report = Report(kimg=kimg, seconds=1.0, rung=value is not None, metrics=metrics)
        result: dict[str, Any] = {"report": report, "checkpoint": checkpoint}
        tune_trial: Any = SimpleNamespace(trial_id=trial, progressed=False)
        return self.scheduler.on_trial_result(None, tune_trial, result)


def test_of_a_metric_to_maximise_the_highest_values_continue(local: LocalSession) -> None:
    sweep = Scheduling(local)
    assert sweep.report("0000", 3.0, 0.5) == "CONTINUE"
    assert sweep.report("0001", 3.0, 0.4) == "STOP"
    assert sweep.report("0002", 3.0, 0.9) == "CONTINUE"
    assert [event.decision for event in local.log.events if isinstance(event, Reported)] == [
        "continue", "stop", "continue",
    ]  # fmt: skip


def test_a_resumed_scheduler_decides_as_the_first_one_would(local: LocalSession) -> None:
    sweep = Scheduling(local)
    sweep.report("0000", 3.0, 0.5)
    assert Scheduling(local).report("0001", 3.0, 0.4) == "STOP"


def test_a_value_that_is_not_a_number_fails_the_trial_without_a_retry(local: LocalSession) -> None:
    assert Scheduling(local).report("0000", 3.0, float("nan")) == "STOP"
    (failure,) = [event for event in local.log.events if isinstance(event, Failed)]
    assert (failure.kind, failure.retry) == ("non_finite", False)
    assert "factorvae is nan at 3 kimg, not a finite number" in failure.message


def test_the_newest_two_checkpoints_and_the_best_one_are_kept(local: LocalSession) -> None:
    sweep, folder = Scheduling(local), local.session.experiment.trial("0000")
    for number, (kimg, value) in enumerate(((1.0, None), (3.0, 0.9), (4.0, None), (5.0, None), (9.0, 0.6))):
        (folder / f"checkpoint_{number}").mkdir(parents=True)
        sweep.report("0000", kimg, value, f"checkpoint_{number}")
    assert [one.kimg for one in local.records.trials["0000"].checkpoints] == [1, 3, 4, 5, 9]
    assert {path.name for path in folder.iterdir()} == {"checkpoint_1", "checkpoint_3", "checkpoint_4"}


def test_a_checkpoint_is_removed_once_and_again_after_a_failure_that_may_have_brought_it_back(
    local: LocalSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, removed = Scheduling(local), list[str]()
    monkeypatch.setattr(storage, "remove", lambda place: removed.append(Path(place).name))

    def reported_at(*kimg: float) -> list[str]:
        removed.clear()
        for number in kimg:
            sweep.report("0000", number, None, f"checkpoint_{number:g}")
        return sorted(removed)

    assert reported_at(1, 2, 3.5, 4) == ["checkpoint_1", "checkpoint_2"]
    sweep.scheduler.on_trial_error(None, SimpleNamespace(trial_id="0000", failure=None))  # type: ignore[arg-type]
    assert reported_at(5) == ["checkpoint_1", "checkpoint_2", "checkpoint_3.5"]

"""The trials that Tune gets, and how a trial ends when Tune returns it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.events import at, reported
from tests.tune_app.driver.sessions import LocalSession
from tune_app.config.load import load
from tune_app.experiment.changes import check_trials
from tune_app.experiment.events import Ended
from tune_app.experiment.folder import Experiment
from tune_app.experiment.queue import add_point

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalSession]:
    # with a GPU there is no warm-up
    local = LocalSession(load("branin_space.yaml", set={"search.trials": 2, "resources.gpu": 1}), tmp_path)
    yield local
    local.log.close()


def test_a_trial_that_tune_gives_up_is_started_again_if_it_may_be_retried(local: LocalSession) -> None:
    first = local.searcher.next_trial()
    assert first is not None
    assert local.searcher.next_trial() is None, "one slot"
    lost = {"trial": "0000", "kind": "worker_lost", "message": "lost"}
    local.log.append(at(0, "failed", **lost, retry=True))
    local.searcher.on_trial_complete("0000", error=True)
    again = local.searcher.next_trial()
    assert again is not None
    assert (first.trial_id, again.trial_id) == ("0000", "0000")
    local.log.append(at(0, "failed", **lost, retry=False))
    local.searcher.on_trial_complete("0000", error=True)
    assert [event.state for event in local.log.events if isinstance(event, Ended)] == ["failed"]
    second = local.searcher.next_trial()
    assert second is not None
    assert second.trial_id == "0001"
    assert local.searcher.is_finished()


def test_no_trial_starts_while_a_person_holds_the_sweep(local: LocalSession) -> None:
    local.stopping.requests.hold = True
    assert local.searcher.next_trial() is None
    assert not local.searcher.is_finished()
    local.stopping.requests.hold = False
    assert local.searcher.next_trial() is not None
    local.stopping.requests.no_more_trials = True
    assert local.searcher.is_finished()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_study_gets_both_of_two_objectives(sampler: str, tmp_path: Path) -> None:
    changes = {"metrics": "[kid, factorvae]", "search.sampler": sampler, "resources.gpu": 1}
    local = LocalSession(load("beta_vae_space.yaml", profile="laptop", set=changes), tmp_path)
    for number in range(8):
        trial = local.searcher.next_trial()
        assert trial is not None
        local.log.append(reported(trial.trial_id, 48.0, "stop", kid=1.0 + number, factorvae=number / 8))
        local.searcher.on_trial_complete(trial.trial_id)
    local.log.close()
    study = local.writer.study
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in study.trials] == [[1.0 + n, n / 8] for n in range(8)]
    assert len(study.best_trials) == 8  # each is better than the others in one of the two
    assert local.writer.best == list(range(8))


def test_a_baseline_outside_the_space_is_run_but_does_not_teach_the_sampler(tmp_path: Path) -> None:
    changes = {"search.trials": 3, "resources.gpu": 1, "baselines": "[{x1: 7, bias: 9}, {x1: 8, bias: 30}]"}
    local = LocalSession(load("branin_space.yaml", set=changes), tmp_path)
    for number in range(3):
        trial = local.searcher.next_trial()
        assert trial is not None
        assert trial.config["spec"].params["bias"] == (9 if number == 0 else 30)
        local.log.append(reported(trial.trial_id, local.session.config.scheduler.max_kimg, "stop", value=float(number)))
        local.searcher.on_trial_complete(trial.trial_id)
    local.log.close()
    assert [record.params.get("x1") for record in local.records.trials.values()][:2] == [7, 8]
    assert [trial.state.name for trial in local.writer.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert local.writer.best == [1, 2]
    assert all(trial.params.keys() == {"x1", "x2"} for trial in local.writer.study.trials)
    check_trials(Experiment(tmp_path), local.records, local.session.config)


def test_a_grid_is_asked_in_full_after_the_baselines(tmp_path: Path) -> None:
    grid = {
        "search.sampler": "grid", "search.trials": 9, "resources.gpu": 1, "baselines": "[{x1: 7}, {x1: 8}]",
        "parameters.x1": "{type: int, low: 0, high: 8}", "parameters.x2": "null", "fixed.x2": 2.0,
    }  # fmt: skip
    local = LocalSession(load("branin_space.yaml", set={**grid, "search.trials": 11}), tmp_path, slots=20)
    while local.searcher.next_trial() is not None:
        pass
    asked = [record.params["x1"] for record in local.records.trials.values()]
    local.log.close()
    assert asked[:2] == [7, 8]
    assert sorted(asked[2:]) == list(range(9))


def run_all(local: LocalSession) -> list[tuple[str, float]]:
    """Run each trial to its end. Return source and x1 of every trial."""
    while (trial := local.searcher.next_trial()) is not None:
        local.log.append(reported(trial.trial_id, local.session.config.scheduler.max_kimg, "stop", value=1.0))
        local.searcher.on_trial_complete(trial.trial_id)
    return [(record.source, float(record.params["x1"])) for record in local.records.trials.values()]


def test_points_that_a_person_adds_come_next_and_are_additional(tmp_path: Path) -> None:
    changes = {"search.trials": 3, "resources.gpu": 1, "baselines": "[{x1: 7}]", "search.sampler": "random"}
    plain = LocalSession(load("branin_space.yaml", set=changes), tmp_path)
    alone = run_all(plain)
    plain.log.close()
    local = LocalSession(load("branin_space.yaml", set=changes), tmp_path)
    local.stopping.requests.points = [
        add_point(local.session.experiment, {"x1": x1, **more})
        for x1, more in ((1.5, {}), (99.0, {}), (2.5, {"x2": 3.0}))
    ]
    found = run_all(local)
    local.log.close()
    assert found[:3] == [("person", 1.5), ("person", 2.5), ("baseline", 7.0)]
    assert [source for source, _ in found[3:]] == ["sampler", "sampler"]
    assert [source for source, _ in alone] == ["baseline", "sampler", "sampler"]
    assert local.records.trials["0001"].params["x2"] == 3.0
    assert len({record.params["x2"] for record in local.records.trials.values()}) == 5, "missing values are sampled"
    left = [path.suffix for path in local.session.experiment.queue.iterdir()]
    assert left == [".refused"], "the one outside the range"
    check_trials(Experiment(tmp_path), local.records, local.session.config)
    assert [trial.state.name for trial in local.writer.study.trials] == ["COMPLETE"] * 5


def test_a_point_that_comes_after_the_last_trial_is_run(local: LocalSession) -> None:
    run_all(local)
    assert local.searcher.is_finished()
    local.stopping.requests.points = [add_point(local.session.experiment, {"x1": 1.0})]
    assert not local.searcher.is_finished()
    added = local.searcher.next_trial()
    assert added is not None
    assert local.records.trials[added.trial_id].source == "person"
    assert local.searcher.is_finished()

"""What Tune is handed, and what becomes of a trial that it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_app.cluster.ray import Cluster
from tune_app.config.load import load
from tune_app.driver import study
from tune_app.driver.searcher import Search
from tune_app.driver.stopping import Limits
from tune_app.experiment.folder import create
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own


@pytest.fixture
def search(tmp_path: Path) -> Iterator[tuple[Search, EventLog, Limits]]:
    config = load("branin_space.yaml", set={"search.trials": 2, "resources.gpu": 1})  # no warm-up with a GPU
    experiment = create(tmp_path, "branin")
    log, records = EventLog(experiment.events), Records()
    log.subscribe(records.apply)
    teller = study.rebuild(experiment, "branin", [], config.space, ["value"])
    log.listen(teller)
    limits = Limits(config.budget, experiment, records, str(tmp_path / "park"))
    cluster = Cluster(cpus=1, gpus=1, slots=1, local=True, scratch=tmp_path)
    yield (
        Search(
            config,
            experiment,
            log,
            records,
            teller,
            limits,
            cluster=cluster,
            arguments=lambda record: {"of": record.id},
        ),
        log,
        limits,
    )
    log.close()


def test_a_trial_that_tune_gives_up_while_it_may_be_tried_again_is_handed_out_again(
    search: tuple[Search, EventLog, Limits],
) -> None:
    handed, log, _ = search
    first = handed.next_trial()
    assert first is not None
    assert handed.next_trial() is None, "one slot"
    log.append("failed", trial="0000", kind="worker_lost", message="lost", retry=True)
    handed.on_trial_complete("0000", error=True)
    again = handed.next_trial()
    assert again is not None
    assert (first.trial_id, again.trial_id) == ("0000", "0000")
    log.append("failed", trial="0000", kind="worker_lost", message="lost", retry=False)
    handed.on_trial_complete("0000", error=True)
    assert [event["state"] for event in log.events if event["event"] == "ended"] == ["failed"]
    second = handed.next_trial()
    assert second is not None
    assert second.trial_id == "0001"
    assert handed.is_finished()


def test_held_trials_wait_and_are_released(search: tuple[Search, EventLog, Limits]) -> None:
    handed, _, limits = search
    limits.held = True
    assert handed.next_trial() is None
    assert not handed.is_finished()
    limits.held = False
    assert handed.next_trial() is not None
    limits.full = True
    assert handed.is_finished()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_two_objectives_are_told_to_the_sampler_together(sampler: str, tmp_path: Path) -> None:
    config = load(
        "beta_vae_space.yaml",
        profile="laptop",
        set={"metrics": "[kid, factorvae]", "search.sampler": sampler, "resources.gpu": 1},
    )
    experiment = create(tmp_path, "two")
    log, records = EventLog(experiment.events), Records()
    log.subscribe(records.apply)
    teller = study.rebuild(experiment, "two", [], config.space, [one.name for one in config.objectives])
    log.listen(teller)
    limits = Limits(config.budget, experiment, records, str(tmp_path / "park"))
    cluster = Cluster(cpus=1, gpus=1, slots=1, local=True, scratch=tmp_path)
    handed = Search(
        config, experiment, log, records, teller, limits, cluster=cluster, arguments=lambda record: {"of": record.id}
    )
    for number in range(8):
        trial = handed.next_trial()
        assert trial is not None
        metrics = {"kid": 1.0 + number, "factorvae": number / 8}
        log.append(
            "reported", trial=trial.trial_id, kimg=48.0, seconds=1.0, rung=True, metrics=metrics, decision="stop"
        )
        handed.on_trial_complete(trial.trial_id)
    log.close()
    assert [str(direction.name) for direction in teller.study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in teller.study.trials] == [[1.0 + n, n / 8] for n in range(8)]
    assert len(teller.study.best_trials) == 8  # each is better than the others in one of the two
    assert teller.best == list(range(8))

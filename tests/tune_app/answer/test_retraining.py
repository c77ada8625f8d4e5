"""The answer of a retraining: Welch's test against the baselines, beside what the sweep promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import ttest_ind

from tests.events import asked, ended, reported, started
from tune_app.answer.retraining import Retrained, RetrainedRow, difference
from tune_app.answer.summary import Summary, summarise
from tune_app.answer.text import answer_lines
from tune_app.config.load import dump, load, load_resolved
from tune_app.config.retraining_config import Promise, RetrainedSetting, RetrainingConfig
from tune_app.config.schema import SweepConfig
from tune_app.errors import ConfigError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records
from tune_app.report.page import page

END = 28.0
NAMES = ("winner", "baseline 0000", "baseline 0001")


def retraining(*, seeds: int = 3, names: tuple[str, ...] = NAMES, winner_is_baseline: bool = False) -> SweepConfig:
    settings = [
        RetrainedSetting(
            name=name, trial=f"000{5 - i}", baseline=i > 0 or winner_is_baseline,
            promised={"kid": Promise(value=0.1, stderr=0.02)},
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    plan = RetrainingConfig(
        experiment="/e/sweep", identity="ab", seeds=seeds, settings=settings, sample_metrics=2, earlier=[]
    )
    count = seeds * len(names)
    values = {"sigma_begin": 2.0, "sigma_end": 0.01, "num_scales": 10, "lr": 1e-3}
    config = load("ncsn_space.yaml", profile="laptop", set={"search.trials": count})
    changes = {
        "baselines": [values] * count, "retraining": plan.model_dump(),
        "recheck": {**config.recheck.model_dump(), "trials": 0},
        "scheduler": {"type": "none", "max_kimg": END, "grace_kimg": 14.0},
    }  # fmt: skip
    return SweepConfig.model_validate({**config.model_dump(exclude={"metrics", "profiles"}), **changes})


def events(*values: float | None, bpd: float = 3.0) -> list[Event]:
    """Return a log in which training n ended with the n-th kid, or failed."""
    found = [started(compared={"retraining": 2000}, features={"randconv": "12"})]
    for number, kid in enumerate(values):
        trial = f"{number:04d}"
        found.append(asked(trial, "baseline", sigma_begin=2.0))
        if kid is not None:
            found.append(reported(trial, END, "stop", kid=kid, bpd=bpd))
        found.append(ended(trial, "failed" if kid is None else "completed", kimg=END))
    return found


def summary(config: SweepConfig, log: list[Event]) -> Summary:
    return summarise(Experiment(Path("/e/again")), config, Records(log), log)


def answer(config: SweepConfig, log: list[Event]) -> Retrained:
    found = summary(config, log).retraining
    assert found
    return found


def row(name: str, *values: float) -> RetrainedRow:
    return RetrainedRow(name, "0000", True, {}, [], list(values), {}, {})


def test_the_difference_from_a_baseline_is_welchs_test() -> None:
    ours, theirs = (0.10, 0.12, 0.11), (0.16, 0.30, 0.19)
    found = difference(row("winner", *ours), row("baseline", *theirs), "kid")
    known = ttest_ind(theirs, ours, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert found.better_by == pytest.approx(known.statistic * found.stderr)
    assert found.degrees == pytest.approx(known.df)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    for shift in range(60):
        moved = [value + shift / 200 for value in theirs]
        chance = ttest_ind(moved, ours, equal_var=False, alternative="greater").pvalue
        assert difference(row("winner", *ours), row("b", *moved), "kid").better == (chance < 0.05)


def test_a_higher_value_is_better_if_the_metric_is_maximised() -> None:
    assert difference(row("winner", 0.8, 0.9), row("b", 0.2, 0.3), "factorvae").better_by == pytest.approx(0.6)


def test_trainings_are_grouped_by_setting_and_shown_beside_the_promise() -> None:
    found = summary(retraining(), events(0.10, 0.20, 0.30, 0.11, 0.21, 0.32, 0.12, 0.22, 0.28))
    assert found.retraining
    assert [one.trials for one in found.retraining.rows] == [[f"000{i + 3 * n}" for n in range(3)] for i in range(3)]
    assert found.retraining.rows[1].values == [0.20, 0.21, 0.22]
    assert found.retraining.rows[0].metrics["kid"] == pytest.approx((0.11, 0.01))
    assert [one.baseline for one in found.retraining.differences] == ["baseline 0000", "baseline 0001"]
    assert found.retraining.beats_baselines is True
    assert found.best
    assert (found.best.trial, found.best.trainings) == ("0000", [0.10, 0.11, 0.12])
    assert found.best.value == pytest.approx(0.11)
    text = "\n".join(answer_lines(found))
    assert "winner         0005   3 of 3     0.11 ± 0.01       0.1 ± 0.02" in text
    assert "The winner (trial 0005) is 0.1 ± 0.0082 better in kid than the best baseline, baseline 0000" in text
    assert "it beats every baseline beyond chance" in text
    assert "--trials" not in text, "a retraining takes no more trials"
    document = json.loads(json.dumps(found.as_json()))["retraining"]
    assert document["rows"][0]["metrics"]["bpd"] == {"mean": 3.0, "sd": 0.0}
    assert document["rows"][0]["promised"]["kid"] == {"value": 0.1, "stderr": 0.02}


def test_the_winner_must_be_better_than_every_baseline_beyond_chance() -> None:
    found = answer(retraining(), events(0.10, 0.20, 0.12, 0.11, 0.21, 0.90, 0.12, 0.22, 0.02))
    assert [one.better for one in found.differences] == [True, False]
    assert found.beats_baselines is False
    log = events(0.10, 0.20, 0.12, 0.11, 0.21, 0.90, 0.12, 0.22, 0.02)
    assert "it has not beaten baseline 0001 beyond chance" in "\n".join(answer_lines(summary(retraining(), log)))


def test_the_model_to_take_is_the_first_training_of_the_winner_whatever_the_test_images_say() -> None:
    log = events(0.50, 0.20, 0.01, 0.11, 0.21, 0.02, 0.12, 0.22, 0.03)
    best = summary(retraining(), log).best
    assert best
    assert (best.trial, best.value) == ("0000", pytest.approx((0.50 + 0.11 + 0.12) / 3))
    failed = summary(retraining(), events(None, 0.20, 0.01, 0.11, 0.21, 0.02, 0.12, 0.22, 0.03)).best
    assert failed
    assert (failed.trial, failed.trainings) == ("0003", [0.11, 0.12])


def test_one_training_tells_nothing_of_the_spread() -> None:
    found = answer(retraining(seeds=1), events(0.1, 0.2, 0.3))
    assert found.rows[0].metrics["kid"] == (0.1, None)
    assert found.beats_baselines is None
    text = "\n".join(answer_lines(summary(retraining(seeds=1), events(0.1, 0.2, 0.3))))
    assert "use two seeds or more" in text


def test_a_winner_that_is_a_baseline_is_named() -> None:
    config = retraining(names=("winner",), winner_is_baseline=True)
    found = summary(config, events(0.1, 0.2, 0.3))
    assert "The winner (trial 0005) is a baseline: the search has found nothing better." in answer_lines(found)


def test_the_report_shows_the_same_tables() -> None:
    config, log = retraining(), events(0.10, 0.20, 0.30, 0.11, 0.21, 0.32, 0.12, 0.22, 0.28)
    html = page(Experiment(Path("/e/again")), config, Records(log), log, summary(config, log))
    for cell in ("2000 test images", "0.11 ± 0.01", "0.1 ± 0.02", "baseline 0001"):
        assert f">{cell}</t" in html
    assert "it beats every baseline beyond chance" in html


def test_a_retraining_takes_no_other_trials(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(dump(retraining()))
    assert load_resolved(path).retraining == retraining().retraining
    for key, value in (("search.trials", "12"), ("recheck.trials", "2"), ("scheduler.type", "asha")):
        with pytest.raises(ConfigError, match="retraining"):
            load_resolved(path, {key: value})

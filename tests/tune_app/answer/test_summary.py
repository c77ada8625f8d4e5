"""The summary of a sweep: re-evaluation decides, ties and selection bias are named, two objectives give a front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.events import asked, at, changed, ended, reported, started
from tune_app.answer.importance import Share
from tune_app.answer.summary import Answer, Summary, TrialResult, summarise
from tune_app.answer.text import answer_lines
from tune_app.config.load import load
from tune_app.config.schema import SweepConfig
from tune_app.driver.shared_data import SharedData, check_same_data
from tune_app.errors import InputError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.ranking import best, front
from tune_app.experiment.records import Records

END = 22.0


def rechecked(trial: str, draws: list[float], same: list[float], stderr: float = 0.01) -> Event:
    return at(
        0, "rechecked", trial=trial, kimg=END, seconds=1.0, sampling={"step_size": 2.0},
        draws=[{"kid": kid, "kid_stderr": stderr} for kid in draws], same=[{"kid": kid} for kid in same],
        pictures={}, features="cnn 0123",
    )  # fmt: skip


def trial(name: str, early: float, late: float, **metrics: float) -> list[Event]:
    """Return a trial that ran to its end and was evaluated at both rungs."""
    reports = [reported(name, 11.0, kid=early), reported(name, END, "stop", kid=late, **metrics)]
    return [asked(name, sigma_begin=2.0, lr=1.5e-3), *reports, ended(name, kimg=END)]


@pytest.fixture
def config() -> SweepConfig:
    return load("ncsn_space.yaml", profile="laptop", set={"scheduler.max_kimg": END, "scheduler.grace_kimg": 11.0})


def summary(config: SweepConfig, events: list[Event]) -> Summary:
    return summarise(Experiment(Path("/e")), config, Records(events), events)


def parts(summary: Summary) -> tuple[TrialResult, Answer]:
    assert summary.best
    assert summary.answer
    return summary.best, summary.answer


def lines(summary: Summary) -> str:
    return "\n".join(answer_lines(summary))


def test_the_winner_is_the_best_by_fresh_draws_not_by_the_sweeps_own_value(config: SweepConfig) -> None:
    events = [*trial("0000", 3.0, 1.0), *trial("0001", 2.0, 1.1), *trial("0002", 1.0, 3.0),
              rechecked("0000", [1.50, 1.54, 1.46], [1.4, 1.6, 1.5]),
              rechecked("0001", [1.20, 1.24, 1.16], [1.2, 1.2, 1.2])]  # fmt: skip
    winner, answer = parts(summary(config, events))
    assert winner.trial == "0001"
    assert winner.value == pytest.approx(1.2)
    assert winner.sweep_value == 1.1
    assert winner.stderr == pytest.approx(0.04 / 3**0.5)
    assert winner.params["step_size"] == 2.0
    assert answer.tied == []
    assert [row.trial for row in answer.rechecked] == ["0000", "0001"]
    assert answer.optimism == pytest.approx(0.5)  # of 0000, which led the sweep with 1.0
    text = lines(summary(config, events))
    assert "with fresh seeds and the same budget, the sweep's leader is 0.5 worse than the sweep reported" in text


@pytest.mark.parametrize(("other", "tied"), [(1.235, True), (1.245, False), (1.33, False)])
def test_a_difference_below_the_critical_value_of_one_comparison_is_a_tie(
    other: float, tied: bool, config: SweepConfig
) -> None:
    draws = [[value - 0.03, value, value + 0.03] for value in (1.2, other)]  # .0173 each, .0245 both, times 1.645
    events = [*trial("0000", 3.0, 1.0), *trial("0001", 2.0, 1.1), rechecked("0000", draws[0], [1.0, 1.0, 1.0]),
              rechecked("0001", draws[1], [1.0, 1.0, 1.0])]  # fmt: skip
    _, answer = parts(summary(config, events))
    assert answer.tied == (["0001"] if tied else [])
    assert ("tie: chance explains the differences between 0000, 0001" in lines(summary(config, events))) == tied


def test_rungs_bounds_and_the_other_feature_set_are_judged(config: SweepConfig) -> None:
    events = [event for i in range(5) for event in trial(f"000{i}", 5.0 - i, 1.0 + i, kid_alt=5.0 - i)]
    _, answer = parts(summary(config, events))
    assert [(rung.kimg, rung.spearman) for rung in answer.rungs] == [(11.0, pytest.approx(-1.0))]
    assert answer.grace_kimg == END
    assert answer.disagreement
    assert "trial 0000 has rank 5 of 5" in answer.disagreement
    assert answer.importances is None
    near = [asked("0000", sigma_begin=4.99, lr=2e-3), *events[1:4]]
    (bound,) = parts(summary(config, near))[1].at_bounds
    assert "sigma_begin 4.99 lies at its upper bound 5" in bound.sentence
    assert bound.setting == "parameters.sigma_begin.high=50"


def test_an_importance_is_printed_only_if_it_exceeds_chance(config: SweepConfig) -> None:
    whole = summary(config, trial("0000", 1.0, 2.0))
    _, answer = parts(whole)
    shares = {"lr": Share(0.6, 0.1, 0.3), "sigma_begin": Share(0.2, 0.25, 0.3)}
    text = lines(replace(whole, answer=replace(answer, importances=shares)))
    assert "importance: lr 60 ± 10 % (by chance 30 %)\n" in text
    few = {"lr": Share(0.1, 0.2, 1.4)}
    text = lines(replace(whole, answer=replace(answer, importances=few)))
    assert "importance: chance explains that of every parameter" in text
    assert "importance: too few trials" in lines(whole)


def test_a_metric_to_maximise_ranks_the_highest_value_first() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"metric.name": "factorvae"})
    assert config.metric.goal == "maximize"
    events = [asked("0000"), reported("0000", 48.0, "stop", factorvae=0.4), asked("0001"),
              reported("0001", 48.0, "stop", factorvae=0.6)]  # fmt: skip
    assert parts(summary(config, events))[0].trial == "0001"


def test_two_objectives_leave_the_trials_that_no_other_one_beats_in_both() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"metrics": "[kid, factorvae]"})
    assert config.rungs == [48.0]
    values = {"0000": (1.0, 0.2), "0001": (2.0, 0.5), "0002": (3.0, 0.4), "0003": (1.0, 0.1)}
    events = []
    for name, (kid, score) in values.items():
        events += [asked(name), reported(name, 48.0, "stop", kid=kid, factorvae=score), ended(name)]
    records = Records(events)
    assert [record.id for record in front(records.trials.values(), ["kid", "factorvae"])] == ["0000", "0001"]
    whole = summary(config, events)
    assert [one.values for one in whole.front] == [{"kid": 1.0, "factorvae": 0.2}, {"kid": 2.0, "factorvae": 0.5}]
    assert "the front: 2 trials" in lines(whole)


def test_the_front_is_that_of_the_fresh_values_with_their_errors_and_ties() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"metrics": "[kid, factorvae]"})
    events: list[Event] = []
    for name, kid, score in (("0000", 1.0, 0.5), ("0001", 2.0, 0.6), ("0002", 0.9, 0.4)):
        events += [asked(name), reported(name, 48.0, "stop", kid=kid, factorvae=score), ended(name)]
    fresh = {"0000": (1.2, 0.5), "0001": (1.22, 0.51), "0002": (1.6, 0.3)}  # 0002 led the sweep in kid
    for name, (kid, score) in fresh.items():
        draws = [{"kid": kid + d, "kid_stderr": 0.05, "factorvae": score + d} for d in (-0.02, 0.0, 0.02)]
        events.append(changed(rechecked(name, [], []), draws=draws))
    whole = summary(config, events)
    assert [one.trial for one in whole.front] == ["0000", "0001"]
    assert whole.front[0].values == {"kid": pytest.approx(1.2), "factorvae": pytest.approx(0.5)}
    assert whole.front[0].stderrs["factorvae"] == pytest.approx(0.02 / 3**0.5)
    assert [one.tied for one in whole.front] == [["0001"], ["0000"]]
    text = lines(whole)
    assert "trial 0000  kid 1.2 ± 0.029, factorvae 0.5 ± 0.012" in text
    assert "ties with 0001" in text


@pytest.mark.parametrize("fresh", [True, False])
def test_the_winner_is_compared_with_the_best_baseline_by_one_kind_of_value(config: SweepConfig, fresh: bool) -> None:
    events = [changed(one, source="baseline") if one.event == "asked" else one for one in trial("0000", 3.0, 1.4)]
    events += [*trial("0001", 2.0, 1.0)]
    if fresh:
        events += [rechecked("0000", [1.9, 2.0, 2.1], [1.5] * 3), rechecked("0001", [1.4, 1.5, 1.6], [1.1] * 3)]
    _, answer = parts(summary(config, events))
    assert answer.baseline
    assert (answer.baseline.trial, answer.baseline.fresh) == ("0000", fresh)
    assert answer.baseline.worse_by == pytest.approx(0.5 if fresh else 0.4)
    text = lines(summary(config, events))
    assert (
        "0.5 ± 0.082 worse (both with fresh seeds)" if fresh else "0.4 worse (both as the sweep measured them)"
    ) in text
    assert ("(the sweep: 112 of 30)" in text) == fresh


def test_the_errors_that_the_sweep_stated_add_in_quadrature(config: SweepConfig) -> None:
    events = [
        changed(one, source="baseline") if one.event == "asked" else one
        for one in trial("0000", 3.0, 1.4, kid_stderr=0.03)
    ]
    _, answer = parts(summary(config, [*events, *trial("0001", 2.0, 1.0, kid_stderr=0.04)]))
    assert answer.baseline
    assert answer.baseline.worse_by_stderr == pytest.approx(0.05)


def test_a_baseline_outside_the_space_is_shown_with_what_differs(config: SweepConfig) -> None:
    first, *rest = trial("0000", 3.0, 1.4)
    params = {"lr": 1e-3, "clip": 5.0, "arch": "unet"}
    events = [changed(first, source="baseline", params=params), *rest, *trial("0001", 2.0, 1.0)]
    _, answer = parts(summary(config, events))
    assert answer.baseline
    assert answer.baseline.differs == {"clip": 5.0}
    assert "trial 0000 with clip 5, kid 1.4" in lines(summary(config, events))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"diversity": 0.05}, "its samples are 0.05 times as diverse as real images"),
        ({"active_units": 0.0}, "none of its latent dimensions carries anything"),
        ({"diversity": 0.9, "active_units": 3.0}, ""),
    ],
)
def test_a_collapsed_winner_is_named_with_a_warning(config: SweepConfig, metrics: dict[str, float], words: str) -> None:
    warnings = summary(config, trial("0000", 3.0, 1.4, **metrics)).warnings
    assert [words in warning for warning in warnings] == ([True] if words else [])


def test_few_real_images_are_a_warning(config: SweepConfig) -> None:
    compared = {"search": 499, "re-evaluation": 500}
    (warning,) = summary(config, [started(compared=compared), *trial("0000", 3.0, 1.4)]).warnings
    assert "compared with only 499 real images in the search" in warning


def test_the_answer_lists_searched_parameters_first_and_ends_with_the_next_commands(config: SweepConfig) -> None:
    events = [asked("0000", batch_size=32, sigma_begin=4.99, lr=2e-3), *trial("0000", 3.0, 1.4)[1:]]
    events.append(at(0, "sweep_ended", state="completed", hours=0.1))
    text = lines(summary(config, events))
    assert text.index("  lr  ") < text.index("  fixed           batch_size 32")
    assert text.index("  sigma_begin  ") < text.index("  fixed  ")
    assert "run /e/sweep.yaml --set parameters.sigma_begin.high=50" in text
    assert "to add trials: python -m tune_app resume /e --trials 2" in text


def test_without_a_re_evaluation_the_sweeps_own_value_counts() -> None:
    records = Records([*trial("0000", 1.0, 2.0), *trial("0001", 2.0, 1.5)])
    winner = best(records.trials.values(), "kid")
    assert winner
    assert winner.id == "0001"


def test_a_misleading_metric_is_a_warning_in_the_answer() -> None:
    config = load("ncsn_space.yaml", profile="laptop", set={"metric.name": "loss", "scheduler.max_kimg": END})
    events = trial("0000", 1.0, 1.0, loss=3.0)
    assert "falls with the noise range by construction" in summary(config, events).warnings[0]


def test_images_or_features_that_differ_from_the_start_are_refused(tmp_path: Path) -> None:
    records, experiment = Records(), Experiment(tmp_path)
    records.data, records.features = "images", {"cnn": "1", "randconv": "2"}
    check_same_data(records, SharedData(data="images", features={"cnn": "1", "randconv": "2"}), experiment)
    with pytest.raises(InputError, match="not the images"):
        check_same_data(records, SharedData(data="others", features={"cnn": "1", "randconv": "2"}), experiment)
    with pytest.raises(InputError, match=r"metrics of two feature sets do not compare"):
        check_same_data(records, SharedData(data="images", features={"cnn": "3", "randconv": "2"}), experiment)


@pytest.mark.parametrize(("value", "warned"), [(0.1, False), (0.5, True)])
def test_the_winner_is_placed_beside_corrupted_real_images(config: SweepConfig, value: float, warned: bool) -> None:
    scale = {"blurred": 0.9, "halves_joined": 0.2, "phases_randomised": 0.3}
    whole = summary(config, [started(scale=scale), *trial("0000", 1.0, value, kid_recon=0.7)])
    text = lines(whole)
    assert "(no picture left) 0.3, as the winner reconstructs them 0.7" in text
    assert "for comparison  kid of real images: blurred 0.9, two halves joined 0.2, random phases" in text
    assert ("in which no picture is left: look at the samples" in text) == warned

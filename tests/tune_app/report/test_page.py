"""The report: what the page holds, that nothing in it can run, and that it needs no network."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.events import asked, at, changed, ended, reported, started
from tune_app.config.load import dump, load
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.report.page import write_report

HOSTILE = '"><script>alert(1)</script></script><!-- &amp;'
END = 28.0


class Parsed(HTMLParser):
    """The elements of a page by tag, the text of its scripts, and every address it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        values = {name: value or "" for name, value in attrs}
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


def trial(number: int, kid: float, stopped: bool = False, **params: Any) -> list[Event]:
    name = f"{number:04d}"
    given = {"lr": 1e-3 * (1 + number / 5), "sigma_begin": 1.0 + number, **params}
    curve = [{"step_size": step, "kid": kid + step / 100} for step in (2.0, 4.0, 8.0)]
    levels = [{"sigma": sigma, "loss": 1 / sigma} for sigma in (1.0, 0.1)]
    report = reported(name, 14.0, "stop" if stopped else "continue", kid=2 * kid, kl=3.0 + number, recon_mse=0.1)
    early = changed(report, curve=curve, levels=levels, sampling={"step_size": 2.0})
    if stopped:
        return [asked(name, **given), early, ended(name, "stopped", "asha", kimg=14.0)]
    last = changed(early, kimg=END, metrics={"kid": kid, "kl": 3.0 + number, "recon_mse": 0.1 / (1 + number)})
    return [asked(name, "baseline" if number == 0 else "sampler", **given), early, last, ended(name, kimg=END)]


def experiment(folder: Path, space: str, *events: Event) -> Experiment:
    """Return an experiment with this log. Every trial has a picture of its samples."""
    made = Experiment(folder / "night")
    made.trials.mkdir(parents=True)
    config = load(space, profile="laptop", set={"scheduler.max_kimg": END, "scheduler.grace_kimg": 14.0})
    made.sweep_yaml.write_text(dump(config))
    made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in events))
    Image.new("RGB", (1200, 600), "red").save(made.real_images)
    return made


def report(made: Experiment) -> tuple[str, Parsed]:
    write_report(made)
    page = made.report.read_text()
    return page, Parsed(page)


@pytest.mark.parametrize(
    ("space", "own"),
    [
        ("ncsn_space.yaml", ["kid against the Langevin step, trial 0007", "Loss at each noise level"]),
        ("beta_vae_space.yaml", ["Rate and distortion"]),
    ],
)
def test_the_page_holds_the_answer_the_charts_and_all_trials(tmp_path: Path, space: str, own: list[str]) -> None:
    params = {} if space.startswith("ncsn") else {"sigma_begin": 0.0}
    events = [event for n in range(9) for event in trial(n, 1.0 - n / 10, stopped=n == 8)]
    events = [changed(one, params={"lr": one.params["lr"], "beta": 0.01 * (1 + int(one.trial))})
              if one.event == "asked" and params else one for one in events]  # fmt: skip
    page, parsed = report(experiment(tmp_path, space, started(), *events))
    assert "Trial 0007 is the best (sampler): kid 0.3 at 28 kimg" in unescape(page)
    assert "The best baseline is trial 0000, kid 1: 0.7 worse" in unescape(page)
    titles = re.findall(r"<h3>([^<]*)</h3>", page)
    for title in ["All trials side by side", "kid against lr", "Importance of each parameter", "kid over training",
                  "How well each rung predicts the end", "When each trial ran", *own]:  # fmt: skip
        assert title in titles
    figures = json.loads(parsed.scripts[0])
    assert (
        [f"chart-{n}" for n in range(len(titles))]
        == list(figures)
        == [i for i in parsed.ids if re.match(r"chart-\d+$", i)]
    )
    assert parsed.tags["tr"] == 1 + 9
    assert "python -m tune_app train" in page
    assert len(page.encode()) < 6_000_000


def test_nothing_that_a_log_holds_can_run_in_the_page(tmp_path: Path) -> None:
    failed = at(0, "failed", trial="0002", kind="error", message=HOSTILE, retry=False)
    events = [*trial(0, 1.0), *trial(1, 0.5), asked("0002", lr=1e-3), failed, ended("0002", "failed", "error"),
              changed(asked("0003", lr=1e-3), params={"lr": HOSTILE, HOSTILE: HOSTILE})]  # fmt: skip
    names = started(versions={"python": HOSTILE}, features={HOSTILE: HOSTILE}, data=HOSTILE)
    page, parsed = report(experiment(tmp_path, "ncsn_space.yaml", names, *events))
    assert "alert(1)" not in "".join(parsed.scripts)
    assert HOSTILE in unescape(page)
    assert len(parsed.scripts) == 3  # the charts, plotly and the page's own


def test_the_page_names_no_address_and_forbids_every_request(tmp_path: Path) -> None:
    made = experiment(tmp_path, "ncsn_space.yaml", started(), *trial(0, 1.0), *trial(1, 0.5))
    page, parsed = report(made)
    for address in parsed.addresses:
        assert address.startswith(("data:", "#", "trials/")), address[:60]
    assert "default-src 'none'" in page
    assert 'width="560" height="280"' in page  # the real images, scaled down


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    made = experiment(tmp_path, "ncsn_space.yaml", started(), *trial(0, 1.0), *trial(1, 0.5))
    made.real_images.write_bytes(b"no picture")
    assert "img" not in report(made)[1].tags


def test_a_sweep_without_a_trial_has_a_page_too(tmp_path: Path) -> None:
    page, parsed = report(experiment(tmp_path, "ncsn_space.yaml", started()))
    assert "No trial has reached a rung" in page
    assert len(parsed.scripts) == 2

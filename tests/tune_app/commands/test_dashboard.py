"""optuna-dashboard on an experiment: live, with pictures and notes, read-only, and only on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.events import asked, at, changed, ended, reported, started
from tune_app.commands import dashboard as stage
from tune_app.commands.dashboard import FollowedStudy, make_dashboard
from tune_app.config.load import load
from tune_app.errors import InputError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import create

pytest.importorskip("optuna_dashboard")
pytestmark = pytest.mark.filterwarnings("ignore")  # the dashboard's own


def picture(experiment: Experiment, trial: str, name: str) -> str:
    experiment.trial(trial).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), "red").save(experiment.trial(trial) / name)
    return f"trials/{trial}/{name}"


def write(experiment: Experiment, *events: Event) -> None:
    with experiment.events.open("a") as file:
        file.writelines(json.dumps(event.as_json()) + "\n" for event in events)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    made = create(tmp_path, "night")
    config = load("branin_space.yaml").model_dump(mode="json", exclude={"profiles"})
    samples = {"samples": picture(made, "0000", "samples-27.png")}
    write(
        made,
        started(config=config),
        asked("0000", "baseline", x1=1.0, x2=2.0),
        changed(reported("0000", 27, "stop", value=3.5), pictures=samples),
        ended("0000", kimg=27),
        asked("0001", x1=4.0, x2=5.0),
    )
    return made


class Browser:
    """Requests to a dashboard in a thread."""

    def __init__(self, followed: FollowedStudy) -> None:
        self.server = make_dashboard(followed, 0)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        named = {"Host": f"{host or '127.0.0.1'}:{self.server.server_port}"}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def study(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/api/studies/0")[1])
        return found


@pytest.fixture
def followed(experiment: Experiment) -> FollowedStudy:
    return FollowedStudy(experiment)


@pytest.fixture
def browser(followed: FollowedStudy) -> Iterator[Browser]:
    made = Browser(followed)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_each_trial_has_its_state_its_value_and_a_note(browser: Browser) -> None:
    first, second = browser.study()["trials"]
    assert (first["state"], first["values"]) == ("Complete", [3.5])
    assert second["state"] == "Running"
    assert first["note"]["body"] == ("Trial 0000 (baseline): completed (max_kimg) at 27 kimg\n- value 3.5 at 27 kimg")
    assert browser.ask("/dashboard/studies/0")[0] == 200


def test_the_times_are_those_of_the_trials_not_of_the_replay(tmp_path: Path) -> None:
    made = create(tmp_path, "night")
    config = load("branin_space.yaml").model_dump(mode="json", exclude={"profiles"})
    write(
        made,
        started(config=config),
        asked("0000", x1=1.0, x2=2.0),
        changed(reported("0000", 27, "stop", value=3.5), time="2026-01-01T00:20:00+00:00"),
        changed(ended("0000", kimg=27), time="2026-01-01T00:20:00+00:00"),
    )
    (trial,) = FollowedStudy(made).study.trials
    assert trial.datetime_start == local("2026-01-01T00:00:00+00:00")
    assert trial.datetime_complete == local("2026-01-01T00:20:00+00:00")


def local(time: str) -> datetime:
    """Return a time as Optuna has it: local, without a zone."""
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None)


def test_pictures_are_shown_where_they_are(browser: Browser, experiment: Experiment) -> None:
    (artifact,) = browser.study()["trials"][0]["artifacts"]
    assert artifact["filename"] == "samples-27.png"
    address = f"/artifacts/0/0/{artifact['artifact_id']}"
    assert browser.ask(address) == (200, (experiment.trial("0000") / "samples-27.png").read_bytes())
    (experiment.trial("0000") / "samples-27.png").unlink()
    assert browser.ask(address)[0] == 404


def test_the_dashboard_follows_the_log_and_writes_nothing(
    followed: FollowedStudy, browser: Browser, experiment: Experiment
) -> None:
    files = sorted(path for path in experiment.folder.rglob("*"))
    final = {"samples": picture(experiment, "0000", "samples-final.png")}
    write(
        experiment,
        reported("0001", 27, "stop", value=1.5),
        ended("0001", kimg=27),
        at(
            0,
            "rechecked",
            trial="0000",
            kimg=27,
            seconds=1,
            sampling={},
            draws=[],
            same=[],
            pictures=final,
            features="",
        ),
    )
    followed.follow()
    first, second = browser.study()["trials"]
    assert (second["state"], second["values"]) == ("Complete", [1.5])
    assert [one["filename"] for one in first["artifacts"]] == ["samples-final.png", "samples-27.png"]
    assert sorted(experiment.folder.rglob("*")) == sorted([*files, experiment.folder / final["samples"]])
    assert not experiment.study.exists()


@pytest.mark.parametrize(("method", "host", "status"), [
    ("DELETE", None, 405), ("PUT", None, 405), ("GET", "evil.example", 403), ("GET", "localhost", 200),
])  # fmt: skip
def test_the_dashboard_changes_nothing_and_answers_to_no_other_name(
    method: str, host: str | None, status: int, browser: Browser
) -> None:
    assert browser.ask("/api/studies/0", method, host)[0] == status
    assert len(browser.study()["trials"]) == 2


def test_a_taken_port_and_a_missing_extra_are_sentences(
    browser: Browser, followed: FollowedStudy, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = browser.server.server_port
    with pytest.raises(InputError, match=f"--port {port}: Address already in use"):
        make_dashboard(followed, port)
    monkeypatch.setattr(stage, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'optuna-dashboard>=0.21,<0.22'"):
        stage.dashboard(experiment, 0, print, print)

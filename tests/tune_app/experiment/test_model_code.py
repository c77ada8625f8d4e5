"""The log names the code of a user's model. It is compared before it runs again, and not needed to read the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.events import started
from tests.trainables.test_plugin_code import FILE
from trainables.catalog import MODELS
from trainables.plugin_code import add, read_file
from tune_app.errors import InputError
from tune_app.experiment.model_code import COPIES, add_described, load_code, logged_plugins


@pytest.fixture(autouse=True)
def _empty_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_added", {})


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an experiment with a model from `line.py`, in a process that has not loaded the file."""
    (tmp_path / "line.py").write_text(FILE)
    add(read_file(tmp_path / "line.py"))
    folder = tmp_path / "night"
    folder.mkdir()
    plugins = [one.model_dump() for one in logged_plugins("line")]
    (folder / "events.jsonl").write_text(started(plugins=plugins).model_dump_json(exclude_unset=True) + "\n")
    monkeypatch.setattr(MODELS, "_added", {})
    return folder


def test_the_description_in_the_log_is_enough_to_read_the_experiment(experiment: Path) -> None:
    (experiment.parent / "line.py").unlink()
    add_described(experiment / "events.jsonl")
    assert MODELS["line"].parameters["x"].high == 1
    assert MODELS["line"].metrics["height"].maximize


def test_the_file_is_loaded_from_where_it_was(experiment: Path) -> None:
    assert load_code(experiment) == {}
    assert [one.plugin.name for one in MODELS.code()] == ["line.py"]


def test_changed_code_is_refused_with_both_hashes_and_does_not_run(experiment: Path) -> None:
    (experiment / COPIES).mkdir()
    (experiment / COPIES / "line.py").write_text(FILE)
    before = read_file(experiment.parent / "line.py").sha256
    (experiment.parent / "line.py").write_text("raise ValueError('this has run')")
    now = read_file(experiment.parent / "line.py").sha256
    with pytest.raises(InputError, match=f"was {before[:16]}, now it is {now[:16]}") as refused:
        load_code(experiment)
    assert f"--models {experiment / COPIES / 'line.py'}" in str(refused.value.hint)
    assert "--accept-code-change" in str(refused.value.hint)


def test_a_person_may_accept_changed_code(experiment: Path) -> None:
    changed = FILE.replace("0.5", "0.75")
    (experiment.parent / "line.py").write_text(changed)
    changes = load_code(experiment, accept_change=True)
    assert [*changes] == ["code of line.py"]
    assert MODELS["line"].parameters["x"].default == 0.75


def test_code_inside_the_experiment_runs_only_if_a_person_names_it(experiment: Path) -> None:
    (experiment / COPIES).mkdir()
    copy = experiment / COPIES / "line.py"
    copy.write_text(FILE)
    log = experiment / "events.jsonl"
    log.write_text(log.read_text().replace(str(experiment.parent / "line.py"), str(copy)))
    with pytest.raises(InputError, match=r"line\.py is not run unasked, because it lies in the experiment") as refused:
        load_code(experiment)
    assert refused.value.hint == f"use the experiment's own copy with --models {copy}"
    add(read_file(copy))
    assert load_code(experiment) == {}


def test_the_same_code_under_another_name_is_accepted_and_a_missing_file_is_named(experiment: Path) -> None:
    (experiment.parent / "line.py").rename(experiment.parent / "renamed.py")
    with pytest.raises(InputError, match=r"line\.py no longer exists") as refused:
        load_code(experiment)
    assert refused.value.hint == "give the file with --models"
    add(read_file(experiment.parent / "renamed.py"))
    assert load_code(experiment) == {}

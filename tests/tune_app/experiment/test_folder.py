"""File names, the lock, and finding an experiment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment, create, find, newest, write


def started(out: Path, name: str) -> Experiment:
    experiment = create(out, name)
    experiment.events.touch()
    return experiment


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a" * 65, "naïve", "a\nb", "-x", "/tmp/x"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no name for an experiment"):
        create(tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_two_experiments_of_one_second_get_two_folders(tmp_path: Path) -> None:
    assert create(tmp_path, "ncsn").folder != create(tmp_path, "ncsn").folder


def test_latest_is_the_newest_of_any_name_and_a_name_finds_its_own(tmp_path: Path) -> None:
    for stamp in ("zeta-20260101-000000", "alpha-20260102-000000", "alpha-20260101-000000"):
        (tmp_path / stamp).mkdir()
        (tmp_path / stamp / "events.jsonl").touch()
    assert find("latest", tmp_path).folder.name == "alpha-20260102-000000"
    found = newest(tmp_path, "zeta")
    assert found is not None
    assert found.folder.name == "zeta-20260101-000000"
    assert newest(tmp_path, "alph") is None


def test_a_folder_that_holds_no_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no experiment there"):
        find(str(tmp_path), tmp_path)
    with pytest.raises(InputError, match="no experiment there yet"):
        find("latest", tmp_path / "absent")


def test_a_live_driver_is_named_to_the_second_one(tmp_path: Path) -> None:
    experiment = started(tmp_path, "ncsn")
    code = f"""
import sys
from pathlib import Path
from tune_app.experiment.folder import Experiment
with Experiment(Path({str(experiment.folder)!r})).locked():
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"pid {holder.pid}"), experiment.locked():
        pass
    holder.kill()
    holder.communicate()
    with experiment.locked():  # the lock of a dead process is nobody's
        pass


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write(path, "first")
    write(path, b"second")
    assert path.read_text() == "second"
    assert [item.name for item in tmp_path.iterdir()] == ["summary.json"]

"""Making experiments and looking them up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.events import started
from tune_app.errors import InputError
from tune_app.experiment.out_folder import create, find, newest


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a" * 65, "naïve", "a\nb", "-x", "/tmp/x"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name an experiment"):
        create(tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_two_experiments_of_one_second_get_two_folders(tmp_path: Path) -> None:
    assert create(tmp_path, "ncsn").folder != create(tmp_path, "ncsn").folder


def test_latest_is_the_newest_of_any_name_and_a_name_finds_its_own(tmp_path: Path) -> None:
    begins = {"zeta-20260101-000000": 0, "alpha-20260101-230000": 200, "alpha-20260102-000000": 100}
    for stamp, begin in begins.items():  # the folders are named in local time, and the clock was set back for one
        (tmp_path / stamp).mkdir()
        (tmp_path / stamp / "events.jsonl").write_text(json.dumps(started(begin).as_json()) + "\n")
    assert find("latest", tmp_path).folder.name == "alpha-20260101-230000"
    zeta = newest(tmp_path, "zeta")
    assert zeta is not None
    assert zeta.folder.name == "zeta-20260101-000000"
    assert newest(tmp_path, "alph") is None
    with_no_event = create(tmp_path, "begun-now")
    assert find("latest", tmp_path) == with_no_event


def test_a_folder_that_holds_no_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not an experiment folder: events\.jsonl is missing"):
        find(str(tmp_path), tmp_path)
    with pytest.raises(InputError, match="there is no experiment yet"):
        find("latest", tmp_path / "absent")

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables import checkpoint
from trainables.checkpoint import CheckpointError

STATE = {"weights": {"w": torch.arange(4.0)}, "steps": 3, "names": ["a", "b"], "nothing": None}
ABOUT = {"images": 1000, "spec": {"model": "ncsn"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / 'it\'s a "trial"' / "checkpoint 1"


def test_what_was_written_is_read_back(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    state, about = checkpoint.read(folder)
    assert torch.equal(state.pop("weights")["w"], torch.arange(4.0))
    assert state == {"steps": 3, "names": ["a", "b"], "nothing": None}
    assert about == ABOUT


def test_a_checkpoint_is_two_files_and_leaves_nothing_beside_it(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    checkpoint.write(folder, STATE, {"images": 2000})
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "state.pt"]
    assert list(folder.parent.iterdir()) == [folder]
    assert checkpoint.read(folder)[1] == {"images": 2000}


def test_a_failed_write_leaves_the_old_checkpoint_and_no_rest(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    with pytest.raises(TypeError):
        checkpoint.write(folder, STATE, {"unwritable": object()})
    assert list(folder.parent.iterdir()) == [folder]
    assert checkpoint.read(folder)[1] == ABOUT


@pytest.mark.parametrize("name", ["state.pt", "about.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"is no checkpoint: {name} is missing"):
        checkpoint.read(folder)


def test_a_missing_folder_is_no_checkpoint(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        checkpoint.read(folder)


def test_a_single_flipped_byte_is_found(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    content = bytearray((folder / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt is damaged"):
        checkpoint.read(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"images": 1}', "\xff"])
def test_a_torn_description_is_found(folder: Path, content: str) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    (folder / "about.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"about\.json is damaged"):
        checkpoint.read(folder)


def test_objects_that_could_run_code_are_not_loaded(folder: Path) -> None:
    checkpoint.write(folder, {"path": Path("anything")}, ABOUT)
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        checkpoint.read(folder)

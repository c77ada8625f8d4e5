from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    with pytest.raises(CheckpointError, match=rf"is not a checkpoint: {name} is missing"):
        checkpoint.read(folder)


def test_a_missing_folder_is_no_checkpoint(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
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


def signed(folder: Path, content: bytes) -> None:
    """Write a checkpoint of foreign content with a matching digest."""
    (folder / "state.pt").write_bytes(content)
    described = {**ABOUT, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "about.json").write_text(json.dumps(described))


def zipped(name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"archive/{name}", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


FOREIGN = {
    "nothing": b"",
    "text": b"hello",
    "a zip of nothing": zipped("other", b""),
    "an empty pickle": zipped("data.pkl", b""),
    "an endless pickle": zipped("data.pkl", b"\x80\x02" + b"(" * 1000),
    "a pickle that pops from nothing": zipped("data.pkl", b"\x80\x02a."),
    "a number as a tensor": zipped("data.pkl", b"\x80\x02K\x01Q."),
    "half an integer": zipped("data.pkl", b"\x80\x02J\x01"),
    "a list": zipped("data.pkl", b"\x80\x02]K\x01a."),
    "a zip bomb": zipped("data.pkl", b"\x80\x02" + b"N0" * 5_000_000 + b"}.", zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_state_that_was_never_written_here_is_refused_though_its_digest_fits(folder: Path, content: bytes) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    signed(folder, content)
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        checkpoint.read(folder)


@pytest.mark.parametrize("name", ["state.pt", "about.json"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_opened(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(CheckpointError, match=f"{name} is not a regular file"):
        checkpoint.read(folder)


def test_a_description_of_a_gigabyte_is_not_read_into_memory(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    os.truncate(folder / "about.json", 2**40)
    with pytest.raises(CheckpointError, match=r"about\.json is damaged: it is larger than 1000000 bytes"):
        checkpoint.read(folder)


def test_a_description_nested_without_end_is_found(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    (folder / "about.json").write_text('{"a":' * 100_000)
    with pytest.raises(CheckpointError, match=r"about\.json is damaged"):
        checkpoint.read(folder)


def test_what_was_written_is_whole(folder: Path) -> None:
    assert not checkpoint.is_complete(folder)
    checkpoint.write(folder, STATE, ABOUT)
    assert checkpoint.is_complete(folder)


def test_whole_loads_nothing(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    signed(folder, b"never read as a pickle")
    assert checkpoint.is_complete(folder)


def elsewhere(path: Path) -> None:
    """Move a file or folder elsewhere and leave a link to it."""
    moved = path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(moved)


NOT_WHOLE: dict[str, Callable[[Path], Any]] = {
    "no folder": shutil.rmtree,
    "a file for a folder": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "a link for a folder": elsewhere,
    "a third file": lambda folder: (folder / "_dict_checkpoint.pkl").touch(),
    "a folder inside": lambda folder: (folder / "more").mkdir(),
    "both states": lambda folder: (folder / "state.json").write_bytes((folder / "state.pt").read_bytes()),
    "no state": lambda folder: (folder / "state.pt").unlink(),
    "no description": lambda folder: (folder / "about.json").unlink(),
    "a link for a state": lambda folder: elsewhere(folder / "state.pt"),
    "a link for a description": lambda folder: elsewhere(folder / "about.json"),
    "a dangling state.json": lambda folder: (folder / "state.json").symlink_to("absent"),
    "another state": lambda folder: (folder / "state.pt").write_bytes(b"another"),
    "a torn state": lambda folder: os.truncate(folder / "state.pt", 100),
    "a pipe for a state": lambda folder: ((folder / "state.pt").unlink(), os.mkfifo(folder / "state.pt")),
    "a list as a description": lambda folder: (folder / "about.json").write_text("[]"),
    "a digest that is a number": lambda folder: (folder / "about.json").write_text('{"sha256": 1}'),
    "a description nested without end": lambda folder: (folder / "about.json").write_text("[" * 100_000),
    "a pickle as a description": lambda folder: (folder / "about.json").write_bytes(b"\x80\x04."),
}


@pytest.mark.parametrize("spoil", NOT_WHOLE.values(), ids=NOT_WHOLE.keys())
def test_anything_else_is_not_whole(folder: Path, spoil: Callable[[Path], Any]) -> None:
    checkpoint.write(folder, STATE, ABOUT)
    spoil(folder)
    assert checkpoint.is_complete(folder) is False


def test_a_name_that_no_file_can_have_is_not_whole() -> None:
    assert checkpoint.is_complete(Path("a\x00b")) is False

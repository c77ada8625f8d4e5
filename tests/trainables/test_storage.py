"""A folder, a folder by its address and an fsspec file system return what was written to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem

from trainables import checkpoint, storage
from trainables.checkpoint import UnwritableError

STATE, ABOUT = {"weights": [1.0, 2.0]}, {"images": 3000}


@pytest.fixture(params=["folder", "file", "fsspec"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    folder = tmp_path / "with a space"
    (folder / "trials").mkdir(parents=True)
    return {"folder": str(folder), "file": folder.as_uri(), "fsspec": f"memory://{tmp_path.name}"}[request.param]


def write(folder: Path) -> None:
    checkpoint.write(folder, STATE, ABOUT)


def test_a_checkpoint_comes_back_whole_and_goes_when_told(place: str) -> None:
    trial = storage.below(place, "trials/0007")
    there = storage.below(trial, "checkpoint_000003000")
    for _ in range(2):  # work done twice replaces it
        storage.save(there, write)
    assert storage.exists(there)
    assert storage.names(trial) == ["checkpoint_000003000"]
    with storage.local(there) as folder:
        assert checkpoint.is_complete(folder)
        assert checkpoint.read(folder) == (STATE, ABOUT)
    storage.remove(there)
    assert not storage.exists(there)
    assert storage.names(trial) == []


def test_what_is_not_there_is_empty_and_a_half_written_one_is_not_whole(place: str) -> None:
    missing = storage.below(place, "trials/0007/checkpoint_000003000")
    assert storage.names(storage.below(place, "trials/0007")) == []
    assert storage.content(missing) is None
    storage.remove(missing)
    with storage.local(missing) as folder:
        assert not checkpoint.is_complete(folder)
    storage.save(missing, write)
    storage.touch(storage.below(missing, "state.json"), b"{}")  # of a newer state, whose description never came
    with storage.local(missing) as folder:
        assert not checkpoint.is_complete(folder)


def test_a_file_is_seen_read_and_removed(place: str) -> None:
    park = storage.below(place, ".park")
    storage.touch(park, b"now")
    assert storage.exists(park)
    assert storage.content(park) == b"now"
    storage.remove(park)
    assert not storage.exists(park)


def test_the_options_of_an_address_stay_at_its_end() -> None:
    address = "s3://bucket/folder?region=eu-west-1"
    assert storage.below(address, "night/trials") == "s3://bucket/folder/night/trials?region=eu-west-1"
    assert storage.below("/data/why?/", "trials") == "/data/why?/trials"


def test_a_storage_that_takes_nothing_is_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError) as raised:
        storage.save(storage.below((tmp_path / "file").as_uri(), "checkpoint"), write)
    assert "checkpoint" in str(raised.value.filename)


class Refusing(LocalFileSystem):
    """A file system whose server is unreachable for the first `failures` calls."""

    protocol = "refusing"
    failures = 0

    def info(self, path: str, **arguments: object) -> dict[str, object]:
        if Refusing.failures:
            Refusing.failures -= 1
            raise ConnectionResetError("connection reset by peer")
        return dict(super().info(path, **arguments))


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    register_implementation("refusing", Refusing, clobber=True)
    monkeypatch.setattr(storage, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    checkpoint.write(tmp_path / "complete", STATE, ABOUT)
    return f"refusing://{tmp_path}"


@pytest.mark.parametrize("failures", [1, 3])
def test_an_address_that_answers_late_is_tried_again(refusing: str, failures: int) -> None:
    Refusing.failures = failures
    with storage.local(storage.below(refusing, "complete")) as folder:
        assert checkpoint.is_complete(folder)


def test_an_unreachable_address_is_not_an_empty_one(refusing: str) -> None:
    Refusing.failures = 1000
    with (
        pytest.raises(storage.UnreachableError, match=r"complete cannot be reached: connection reset by peer"),
        storage.local(storage.below(refusing, "complete")),
    ):
        pass

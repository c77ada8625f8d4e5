from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainables.data.album import album, spec
from trainables.cache_folder import cache_folder
from trainables.contract import DataError, DataSpec
from trainables.data import load, sources
from trainables.files import UNFINISHED
from trainables.image_distances import known_distances


def test_changed_folder_is_decoded_again(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache)
    (root / "train" / "cat" / "00.png").unlink()
    sources._load.cache_clear()
    after = load(spec(root), cache)
    assert after != before
    assert len(after.train) + len(after.held_out) == 39


def truncate_array(entry: Path) -> None:
    os.truncate(entry / "train.npy", 500)


def flip_a_byte(entry: Path) -> None:
    content = bytearray((entry / "held_out.npy").read_bytes())
    content[-1] ^= 1
    (entry / "held_out.npy").write_bytes(content)


def empty_array(entry: Path) -> None:
    (entry / "test.npy").write_bytes(b"")


def drop_a_file(entry: Path) -> None:
    (entry / "test_labels.npy").unlink()


def garble_about(entry: Path) -> None:
    (entry / "about.json").write_text('{"arrays": ["train"')


def other_about(entry: Path) -> None:
    (entry / "about.json").write_text("[]")


@pytest.mark.parametrize("damage", [truncate_array, flip_a_byte, empty_array, drop_a_file, garble_about, other_about])
def test_damaged_entry_is_said_and_rebuilt(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache).train.clone()
    damage(next(cache.glob("*/about.json")).parent)
    sources._load.cache_clear()
    assert torch.equal(load(spec(root), cache).train, before)
    assert "is damaged; the images are decoded again" in caplog.text


def test_the_leftovers_of_a_killed_process_are_removed(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    load(spec(root), cache)
    entry = next(cache.glob("*/about.json")).parent
    left = entry.with_name(f"{UNFINISHED}{entry.name}.0")
    entry.rename(left)
    sources._load.cache_clear()
    assert len(load(spec(root), cache).train) == 36
    assert not left.exists()


def test_second_process_maps_what_the_first_decoded_and_neither_decodes_twice(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = album(folder / "pets")
    code = """if True:
        import pathlib, sys, time
        from trainables.data import load, sources
        from trainables.contract import DataSpec

        plain, (root, cache, begun) = sources.SOURCES["folder"], sys.argv[1:]

        def slow(spec, cache):
            source = plain(spec, cache)

            def decode():
                pathlib.Path(begun).touch()
                time.sleep(1)
                return source.decode()

            return source._replace(decode=decode)

        sources.SOURCES["folder"] = slow
        print(load(DataSpec("folder", 16, root), pathlib.Path(cache)).fingerprint)
    """
    begun, plain = folder / "begun", sources.SOURCES["folder"]
    command = [sys.executable, "-W", "error", "-c", code, str(root), str(cache), str(begun)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not begun.exists() and first.poll() is None:
        time.sleep(0.01)
    monkeypatch.setitem(sources.SOURCES, "folder", lambda spec, cache: plain(spec, cache)._replace(decode=None))
    second = load(spec(root), cache)
    assert first.communicate(timeout=50) == (f"{second.fingerprint}\n", "")


def test_writing_to_an_image_stays_in_this_process(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    before = load(spec(root), cache)
    kept = before.train.clone()
    before.train.zero_()
    sources._load.cache_clear()
    assert torch.equal(load(spec(root), cache).train, kept)


def test_the_distances_between_images_are_known_once_they_were_decoded(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(cache))
    root = album(folder / "pets")
    assert known_distances(spec(root)) is None
    flat = load(spec(root), cache).train.flatten(1).double() / 255
    expected = torch.pdist(flat)
    found = known_distances(spec(root))
    assert found
    assert found.median == pytest.approx(float(expected.quantile(0.5)), rel=1e-6)
    assert found.largest == pytest.approx(float(expected.max()), rel=1e-6)
    assert known_distances(spec(folder / "others")) is None


def test_the_distances_between_grey_images_are_not_those_of_coloured_ones(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(cache))
    coloured = spec(album(folder / "pets"))
    load(replace(coloured, channels=1), cache)
    assert known_distances(coloured) is None


def test_cache_is_the_one_given_else_the_environments_else_at_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("TUNE_APP_CACHE", str(folder / "named"))
    assert cache_folder(folder / "given") == folder / "given"
    assert cache_folder() == folder / "named"
    monkeypatch.delenv("TUNE_APP_CACHE")
    assert cache_folder() == folder / "home" / ".cache" / "tune_app"


def test_home_that_cannot_be_written_gives_a_private_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.delenv("TUNE_APP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(folder / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    private = cache_folder()
    assert private.parent == folder
    assert private.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == private
    private.chmod(0o777)  # as one that somebody else prepared
    other = cache_folder()
    assert other != private
    assert other.stat().st_mode & 0o777 == 0o700


def test_named_cache_that_cannot_be_written_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("TUNE_APP_CACHE", str(folder / "file" / "cache"))
    with pytest.raises(DataError, match=r"cache folder .*cache cannot be written: set TUNE_APP_CACHE"):
        load(DataSpec("shapes", 16))


def test_entry_says_in_json_what_it_holds(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    about = json.loads(next(cache.glob("folder-16-*/about.json")).read_text())
    assert about["fingerprint"] == data.fingerprint
    assert about["classes"] == ["cat", "dog"]

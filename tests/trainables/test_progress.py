"""Reports of long steps reach whoever listens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image

from trainables import data, progress
from trainables.contract import DataSpec


def test_reports_reach_the_innermost_listener_and_none_without_one() -> None:
    outer: list[str] = []
    inner: list[str] = []
    progress.report("nobody listens")
    with progress.listening(outer.append):
        with progress.listening(inner.append):
            progress.report("one")
        progress.report("two")
    assert (outer, inner) == (["two"], ["one"])


def test_a_download_reports_its_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WATCH_SECONDS", 0.01)
    lines: list[str] = []
    with progress.listening(lines.append), progress.growing_file(tmp_path / "archive", "downloading", 4.0):
        (tmp_path / "archive").write_bytes(bytes(2_000_000))
        while not lines:
            time.sleep(0.01)
    assert lines[-1] == "downloading: 2 of 4 MB"


def test_decoding_reports_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path / "cache"))
    for number in range(12):
        path = tmp_path / "album" / ("train" if number < 8 else "test") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    lines: list[str] = []
    with progress.listening(lines.append):
        data.load(DataSpec("folder", 16, str(tmp_path / "album")))
    assert lines == ["decoding images: 0 of 4", "decoding images: 0 of 8"]

"""The page of several experiments: it holds their answers, charts and samples, and needs no network."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.events import changed, started
from tests.tune_app.report.test_page import HOSTILE, Parsed, experiment, trial
from tune_app.answer.side_by_side import side_by_side
from tune_app.cli.root import cli
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.report.comparison import check_new_page, comparison_page


@pytest.fixture
def two(tmp_path: Path) -> list[Experiment]:
    """Return two experiments. The winner of the second has a picture of its samples."""
    found = []
    for name, best in (("monday", 0.9), ("tuesday", 0.7)):
        (tmp_path / name).mkdir()
        *events, end = [*trial(0, 1.2, lr=HOSTILE), *trial(1, best)]
        if name == "tuesday":
            events[-1] = changed(events[-1], pictures={"samples": "trials/0001/samples-28.png"})
        made = experiment(tmp_path / name, "ncsn_space.yaml", started(), *events, end)
        found.append(Experiment(made.folder.rename(tmp_path / f"{name}-1")))
    (found[1].trials / "0001").mkdir()
    Image.new("RGB", (1200, 600), "red").save(found[1].trials / "0001/samples-28.png")
    return found


def test_the_page_holds_the_answers_the_charts_and_the_samples(two: list[Experiment]) -> None:
    page = comparison_page(two, side_by_side(two))
    parsed = Parsed(page)
    assert "monday-1: kid 0.9, trial 0001" in unescape(page)
    assert "tuesday-1: kid 0.7, trial 0001" in unescape(page)
    figures = json.loads(parsed.scripts[0])
    first, second = figures["chart-0"]["data"]
    assert (first["name"], second["name"]) == ("monday-1", "tuesday-1")
    assert (first["x"], second["y"]) == ([28, 56, 56], [1.2, 0.7, 0.7])
    assert figures["chart-1"]["data"][0]["x"] == [0.9, 0.7]
    assert parsed.tags["tr"] == 1 + 2
    assert parsed.tags["img"] == 2, "the real images, and the samples of the second winner"
    assert {"chart-0", "chart-1", "table"} <= set(parsed.ids)


def test_the_page_names_no_address_and_nothing_in_it_can_run(two: list[Experiment]) -> None:
    hostile = Experiment(two[0].folder.rename(two[0].folder.with_name("<script>alert(1)<")))
    page = comparison_page([hostile, two[1]], side_by_side([hostile, two[1]]))
    parsed = Parsed(page)
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert "default-src 'none'" in page
    assert len(parsed.scripts) == 3
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_compare_writes_a_new_page_and_overwrites_nothing(two: list[Experiment], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    names = [one.folder.name for one in two]
    command = ["compare", *names, "--experiments", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"wrote {out}"
    assert out.read_text().startswith("<!doctype html>")
    with pytest.raises(InputError, match=r"page\.html exists already"):
        check_new_page(out)
    with pytest.raises(InputError, match=r"must end in \.html"):
        check_new_page(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_new_page(tmp_path / "gone/page.html")

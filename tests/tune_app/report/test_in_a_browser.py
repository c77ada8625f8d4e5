"""The pages in a real browser. `make test-browser` runs these tests; the other targets leave them out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.events import started
from tests.tune_app.report.test_page import experiment, trial
from tune_app.answer.side_by_side import side_by_side
from tune_app.report.comparison import write_comparison
from tune_app.report.page import write_report

pytestmark = pytest.mark.browser
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
TRIALS, KID = 6, 4
"""Trial n has kid 10 - n, so the worst comes first. KID is the column of the table that shows it."""
Open = Callable[[Path], Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)  # else the one of `playwright install chromium`
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Return a function that opens a page. Each page is checked at the end: no complaint and no request of its own."""
    page = chromium.new_page(offline=True, viewport={"width": 1200, "height": 900})
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def open_page(path: Path) -> Any:
        page.goto(path.as_uri())
        return page

    yield open_page
    page.wait_for_load_state("load")
    document = page.url
    page.close()
    assert complaints == []
    assert [url for url in requests if url != document and not url.startswith(("data:", "blob:"))] == []


@pytest.fixture
def report(tmp_path: Path) -> Path:
    events = [event for n in range(TRIALS) for event in trial(n, 10.0 - n)]
    made = experiment(tmp_path, "ncsn_space.yaml", started(), *events)
    write_report(made)
    return made.report


def column(page: Any, number: int) -> list[str]:
    """Return the shown cells of a column of the table, the first column being 0."""
    cells: list[str] = page.eval_on_selector_all(
        "#table tbody tr", "(rows, n) => rows.filter(row => !row.hidden).map(row => row.cells[n].textContent)", number
    )
    return cells


def head(page: Any, name: str) -> Any:
    """Return the button that sorts the table by a column."""
    return page.locator("#table thead").get_by_text(name, exact=True)


def drag(page: Any, axis: int, low: float, high: float) -> None:
    """Drag along an axis of the parallel coordinates, from one share of its height to another."""
    plot = page.locator(".plot.brush")
    plot.scroll_into_view_if_needed()
    page.wait_for_selector(".plot.brush .nsewdrag")
    x, start, end = plot.evaluate(
        """(plot, [axis, low, high]) => {
            const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
            const [start, end] = [low, high].map(share => box.top + yaxis._offset + yaxis.d2p(share));
            return [box.left + xaxis._offset + xaxis.d2p(axis), start, end];
        }""",
        [axis, low, high],
    )
    page.mouse.move(x - 10, start)
    page.mouse.down()
    page.mouse.move(x, (start + end) / 2)
    page.mouse.move(x + 10, end)
    page.mouse.up()


def bright_lines(page: Any) -> list[int]:
    """Return the numbers of the lines of the parallel coordinates that are not faded."""
    lines: list[int] = page.locator(".plot.brush").evaluate(
        "plot => plot.data.flatMap((one, n) => one.mode === 'lines' && one.opacity > 0.5 ? [n] : [])"
    )
    return lines


def test_dragging_along_an_axis_keeps_the_lines_that_cross_there(report: Path, opened: Open) -> None:
    page = opened(report)
    drag(page, 0, -0.05, 0.5)
    page.wait_for_selector(".plot.brush[data-selected='3']")
    assert bright_lines(page) == [3, 4, 5], "those of the lower half of kid"
    drag(page, 1, 0.9, 1.05)
    page.wait_for_selector(".plot.brush[data-selected='1']")
    assert bright_lines(page) == [5], "the one with the highest lr"
    page.locator(".plot.brush .nsewdrag").dblclick(position={"x": 60, "y": 20})
    page.wait_for_selector(f".plot.brush[data-selected='{TRIALS}']")
    assert bright_lines(page) == [*range(TRIALS)]


def test_the_table_is_sorted_by_numbers_and_back(report: Path, opened: Open) -> None:
    page = opened(report)
    worst_first = ["10", "9", "8", "7", "6", "5"]
    assert column(page, KID) == worst_first
    head(page, "kid").click()
    assert column(page, KID) == worst_first[::-1]
    head(page, "kid").click()
    assert column(page, KID) == worst_first
    head(page, "sigma_begin").press("Enter")
    assert column(page, 0) == [f"{n:04d}" for n in range(TRIALS)]


def test_the_filter_shows_the_rows_with_all_words(report: Path, opened: Open) -> None:
    page = opened(report)
    page.get_by_role("searchbox").fill("completed SAMPLER")
    assert column(page, 0) == ["0001", "0002", "0003", "0004", "0005"]
    assert page.locator("#shown").text_content() == f"5 of {TRIALS} trials"
    page.get_by_role("searchbox").fill("completed stopped")
    assert column(page, 0) == []
    page.get_by_role("searchbox").fill("")
    assert len(column(page, 0)) == TRIALS


def test_every_chart_is_drawn_in_the_dark_and_on_a_phone(report: Path, opened: Open) -> None:
    page = opened(report)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator("svg.main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_comparison_is_sorted_too(tmp_path: Path, opened: Open) -> None:
    made = []
    for name, kid in (("monday", 0.9), ("tuesday", 0.7)):
        (tmp_path / name).mkdir()
        made.append(experiment(tmp_path / name, "ncsn_space.yaml", started(), *trial(0, 1.2), *trial(1, kid)))
    write_comparison(tmp_path / "both.html", made, side_by_side(made))
    page = opened(tmp_path / "both.html")
    page.wait_for_selector(".plot svg.main-svg")
    head(page, "kid").click()
    assert column(page, 2) == ["0.7", "0.9"]

"""The time of work on several slots."""

from __future__ import annotations

from tune_app.makespan import Span, makespan


def test_a_piece_starts_as_soon_as_a_slot_is_free() -> None:
    assert makespan([[3.0], [1.0], [1.0], [5.0]], slots=2) == Span(seconds=7.0, busy=10.0)


def test_a_piece_that_does_not_continue_frees_its_slot() -> None:
    legs_seen: list[tuple[int, int]] = []

    def continues(piece: int, leg: int) -> bool:
        legs_seen.append((piece, leg))
        return piece != 0

    assert makespan([[2.0, 9.0], [1.0, 2.0]], 1, continues) == Span(seconds=5.0, busy=5.0)
    assert legs_seen == [(0, 0), (1, 0), (1, 1)]


def test_no_work_takes_no_time() -> None:
    assert makespan([], slots=2) == Span(0.0, 0.0)

"""The time that work takes on several slots, each of which does one piece at a time."""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Time on the clock, and the sum of the times in which slots worked, both in seconds."""

    seconds: float
    busy: float


def makespan(
    pieces: Sequence[Sequence[float]], slots: int, continues: Callable[[int, int], bool] = lambda _piece, _leg: True
) -> Span:
    """Return the time for pieces of work that start in the order given, each as soon as a slot is free.

    A piece consists of legs, in seconds. After each leg, `continues` is called with the numbers of the piece and of the
    leg. If it returns False, the piece ends there.
    """
    waiting = iter(range(len(pieces)))
    running: list[tuple[float, int, int]] = []
    now = busy = 0.0

    def start() -> None:
        piece = next(waiting, None)
        if piece is not None:
            heapq.heappush(running, (now + pieces[piece][0], piece, 0))

    for _ in range(slots):
        start()
    while running:
        now, piece, leg = heapq.heappop(running)
        busy += pieces[piece][leg]
        if continues(piece, leg) and leg + 1 < len(pieces[piece]):
            heapq.heappush(running, (now + pieces[piece][leg + 1], piece, leg + 1))
        else:
            start()
    return Span(now, busy)

"""Pictures for the page, embedded and scaled down where they are large."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tune_app.answer.summary import Summary
from tune_app.experiment.folder import Experiment
from tune_app.experiment.ranking import ranked
from tune_app.experiment.records import TrialRecord

SHOWN_TRIALS = 5
WIDEST = 560
"""Pixels to which a wider picture is scaled down."""
MOST_BYTES = 20_000_000
MOST_PIXELS = 50_000_000
"""A picture of more pixels is not opened."""


@dataclass(frozen=True)
class Picture:
    """A picture with its caption and the text for a person who cannot see it."""

    caption: str
    text: str
    source: str
    """A data URI."""
    width: int
    height: int


def pictures(experiment: Experiment, records: Sequence[TrialRecord], summary: Summary) -> list[Picture]:
    """Return the real images and the pictures of the best trials, the winner first, MOST_BYTES in all."""
    found: list[Picture] = []
    spent = 0
    for caption, text, path in _files(experiment, records, summary):
        picture = embedded(caption, text, path)
        if picture and spent + len(picture.source) <= MOST_BYTES:
            spent += len(picture.source)
            found.append(picture)
    return found


def _files(experiment: Experiment, records: Sequence[TrialRecord], summary: Summary) -> Iterator[tuple[str, str, Path]]:
    yield "real images", "Held-out images of the data set", experiment.real_images
    winner = summary.best.trial if summary.best else None
    order = [record.id for record in ranked(records, summary.metric.name)]
    best = [*([winner] if winner else []), *(trial for trial in order if trial != winner)][:SHOWN_TRIALS]
    by_id = {record.id: record for record in records}
    for trial in best:
        record = by_id[trial]
        drawn = {**record.rungs[-1].pictures, **(record.recheck.pictures if record.recheck else {})}
        for name, place in sorted(drawn.items(), key=lambda item: item[0] != "samples"):
            yield f"trial {trial}: {name}", f"{name} of trial {trial}", experiment.folder / place


def embedded(caption: str, text: str, path: Path) -> Picture | None:
    """Return the picture in a PNG file, or None if it cannot be read."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            shown = image.convert("RGB")
            if shown.width > WIDEST:
                shown = shown.resize((WIDEST, round(shown.height * WIDEST / shown.width)), Image.Resampling.LANCZOS)
            file = BytesIO()
            shown.save(file, "PNG", optimize=True)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None
    return Picture(
        caption, text, f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", shown.width, shown.height
    )

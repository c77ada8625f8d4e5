"""Self-contained pages: a template with its charts, its style and its script, without any request to a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tune_app.report.figures import Chart


def render(template: str, drawn: Sequence[Chart], **values: object) -> str:
    """Return the page that `template` of the assets makes of the charts and the values. All text is escaped."""
    assets = files("tune_app.report") / "assets"
    environment = Environment(
        loader=FunctionLoader(lambda name: (assets / name).read_text()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        charts=[(f"chart-{number}", chart) for number, chart in enumerate(drawn)],
        data=_script_data(drawn),
        plotly=Markup(get_plotlyjs()) if drawn else "",  # noqa: S704
        css=Markup((assets / "page.css").read_text()),  # noqa: S704
        script=Markup((assets / "page.js").read_text()),  # noqa: S704
        **values,
    )


def _script_data(drawn: Sequence[Chart]) -> Markup:
    """Return the charts as JSON that may stand inside a script element."""
    figures = {
        f"chart-{number}": json.loads(chart.figure.to_json(), parse_float=_five_digits)
        for number, chart in enumerate(drawn)
    }
    for figure in figures.values():
        figure.get("layout", {}).pop("template", None)  # half of the page, and our style is in page.js
    return Markup(json.dumps(figures).replace("<", "\\u003c").replace("\u2028", "\\u2028"))  # noqa: S704


def _five_digits(number: str) -> float:
    return float(f"{float(number):.5g}")

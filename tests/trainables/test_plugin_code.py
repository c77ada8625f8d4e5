"""A user's models come from a file or a package, and what is wrong with either is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from trainables import plugin_code
from trainables.build import build
from trainables.catalog import MODELS, Contents, sign
from trainables.contract import Plugin, PluginError, RunSpec
from trainables.model import Metric, Model, Parameter
from trainables.model_description import describe, described
from trainables.plugin_code import add, add_installed, complaint, install, installed, of_package, read_file

FILE = """
from trainables.plugin import Evaluation, Metric, Model, Parameter

class Line:
    def __init__(self, spec): self.x = spec.params["x"]
    def train(self, images): return {"loss": self.x}
    def evaluate(self, *, final, sample_metrics=None, spec=None): return Evaluation({"height": self.x})
    def state(self): return {"x": self.x}
    def load_state(self, state): self.x = state["x"]

print("loaded")
MODELS = {"line": Model(
    run=Line, uses_images=False, metrics={"height": Metric("height", maximize=True)},
    parameters={"x": Parameter(0.5, "place", low=0, high=1), "kind": Parameter("a", "kind", choices=("a", "b"))},
)}
"""


@pytest.fixture(autouse=True)
def _empty_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_added", {})


@pytest.fixture
def line(tmp_path: Path) -> Path:
    path = tmp_path / "line's models.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the package `lines`, with the entry point `line`, on the path."""
    site = tmp_path / "site"
    (site / "lines").mkdir(parents=True)
    (site / "lines/__init__.py").touch()
    (site / "lines/models.py").write_text(FILE + "\nLINE = MODELS['line']\n")
    about = site / "lines-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lines\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text("[tune_app.models]\nline = lines.models:LINE\n")
    monkeypatch.syspath_prepend(str(site))
    yield site / "lines"
    for name in ("lines", "lines.models"):
        sys.modules.pop(name, None)


def test_a_file_adds_its_models_and_prints_to_standard_error(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = read_file(line)
    assert (plugin.name, plugin.path) == (line.name, str(line))
    assert plugin.sha256 == sha256(line.read_bytes()).hexdigest()
    assert "line" not in MODELS, "reading runs nothing"
    add(plugin)
    assert list(MODELS) == ["ncsn", "beta_vae", "branin", "line"]
    assert MODELS.plugins_of("line") == (plugin,)
    assert MODELS.plugins_of("ncsn") == ()
    assert sign("height") == -1
    assert capsys.readouterr() == ("", "loaded\n")


def test_a_run_is_built_in_a_process_that_has_never_seen_the_file(line: Path) -> None:
    plugin = read_file(line)
    line.unlink()
    spec = RunSpec("line", {"x": 0.25, "kind": "a"}, seed=0, plugins=(plugin,))
    assert build(spec).train(1) == {"loss": 0.25}
    newer = replace(plugin, sha256="0" * 64, source=plugin.source.replace("return {", "return {'also': 1.0, "))
    assert build(replace(spec, plugins=(newer,))).train(1) == {"also": 1.0, "loss": 0.25}


def test_metrics_of_a_file_belong_to_every_model_of_images(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text(
        "from trainables.plugin import Metric\n"
        "METRICS = {'edges': Metric('edges', maximize=True, of_samples=lambda x, real, network: 1.0)}\n"
    )
    add(plugin := read_file(tmp_path / "metrics.py"))
    assert MODELS["ncsn"].metrics["edges"].maximize
    assert "edges" not in MODELS["branin"].metrics
    assert MODELS.plugins_of("ncsn") == (plugin,)
    assert MODELS.plugins_of("branin") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", r"bad.py:1: SyntaxError: '\(' was never closed"),
        ("import nowhere_to_be_found", "bad.py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("\n\nraise ValueError('two\\nlines')", "bad.py:3: ValueError: two lines"),
        ("import sys; sys.exit(3)", "bad.py:1: SystemExit: 3"),
        ("def f():\n    1 / 0\nf()", "bad.py:2: ZeroDivisionError: division by zero"),
        ("", "bad.py defines no models: it needs MODELS ="),
        ("MODELS = [1]", "bad.py: MODELS must be a dictionary, not list"),
        ("MODELS = {'a b': 1}", "bad.py: MODELS: 'a b' is not a name"),
        ("MODELS = {'mine': 1}", r"bad.py: MODELS\['mine'\] must be image_model\(...\) or Model\(...\), not int"),
        ("METRICS = {'mine': 1}", r"bad.py: METRICS\['mine'\] must be Metric\(...\), not int"),
        (
            "from trainables.catalog import NCSN\nMODELS = {'ncsn': NCSN}",
            "bad.py: ncsn is the name of a built-in model",
        ),
        (
            "from trainables.plugin import Metric\nMETRICS = {'kid': Metric('')}",
            "bad.py: kid is the name of a built-in metric",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(PluginError, match=words):
        add(read_file(tmp_path / "bad.py"))
    assert list(MODELS) == ["ncsn", "beta_vae", "branin"]


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    (tmp_path / "long.py").write_bytes(b"#" * (plugin_code.MOST_BYTES + 1))
    for name, words in (("none.py", "No such file"), ("binary.py", "UTF-8"), ("long.py", "longer"), (".", "directory")):
        with pytest.raises(PluginError, match=words):
            read_file(tmp_path / name)


def test_two_files_cannot_define_one_model_and_a_changed_file_replaces_itself(line: Path, tmp_path: Path) -> None:
    add(read_file(line))
    (tmp_path / "other.py").write_text(FILE)
    with pytest.raises(PluginError, match=r"other\.py and line's models\.py both define the model line; rename one"):
        add(read_file(tmp_path / "other.py"))
    line.write_text(FILE.replace("0.5", "0.75"))
    add(read_file(line))
    assert MODELS["line"].parameters["x"].default == 0.75


def test_a_package_offers_its_models_by_an_entry_point(package: Path) -> None:
    assert "line" in installed()
    assert "lines.models" not in sys.modules, "a look at the entry points runs nothing"
    assert add_installed("line")
    (plugin,) = MODELS.plugins_of("line")
    assert (plugin.name, plugin.version, plugin.entry_point) == ("package lines", "1.5", "lines.models:LINE")
    assert not plugin.source
    assert not add_installed("nothing_of_that_name")


def test_a_node_with_another_or_no_package_says_so(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_code, "node", lambda: "node-3")
    plugin = of_package(installed()["line"])
    assert complaint([plugin]) == ""
    monkeypatch.setattr(MODELS, "_added", {})
    (package / "more.py").write_text("x = 1")
    assert complaint([plugin]).startswith("node-3 has other code of package lines: version 1.5 (")
    monkeypatch.setattr(plugin_code, "installed", dict)
    with pytest.raises(PluginError, match=r"package lines 1\.5 is not installed on node-3"):
        install([plugin])


def test_a_description_holds_everything_but_the_functions(line: Path) -> None:
    add(plugin := read_file(line))
    contents = MODELS.contents(plugin)
    assert contents
    back = described(plugin, describe(contents)).models["line"]
    assert back.parameters == MODELS["line"].parameters
    assert back.metrics == MODELS["line"].metrics
    assert (back.uses_images, back.version) == (False, 1)
    with pytest.raises(PluginError, match=r"the code of line's models\.py has not been loaded"):
        back.run(RunSpec("line", {}, seed=0))  # type: ignore[operator]


def test_code_goes_before_a_description_and_descriptions_of_one_name_are_joined() -> None:
    def entry(sha: str, name: str, **parameters: Parameter) -> Contents:
        model = Model(parameters, {"height": Metric("")}, uses_images=False)
        return Contents(Plugin("m.py", sha), {name: model}, {}, described=True)

    old, new, other = (Parameter(value, "") for value in (1, 2, 3))
    MODELS.add(entry("a", "line", x=old))
    MODELS.add(entry("b", "line", x=new, y=other))
    assert MODELS["line"].parameters == {"x": old, "y": other}
    MODELS.add(entry("c", "curve", z=new))
    assert {"line", "curve"} <= set(MODELS)
    code = replace(entry("d", "line", x=new), described=False)
    MODELS.add(replace(code, plugin=Plugin("renamed.py", "d")))
    assert MODELS["line"].parameters == {"x": new}
    assert MODELS.plugins_of("line") == (Plugin("renamed.py", "d"),)

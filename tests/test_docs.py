"""The docs agree with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.experiment_page import page
from trainables.catalog import MODELS
from tune_app.cli import cli
from tune_app.config.schema import SweepConfig

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_every_command_has_a_sentence_and_a_place_in_the_documents() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    for name, command in cli.commands.items():
        assert command.help, name
        assert re.search(rf"tune_app {name}\b|`{name}`", text), name


def test_every_key_of_a_space_file_is_explained() -> None:
    text = (ROOT / "docs/space.md").read_text()
    block = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1].replace("{...}", "{}"))  # type: ignore[index]
    assert block.keys() == SweepConfig.model_fields.keys()
    for name in ("ncsn", "beta_vae"):
        for parameter in MODELS[name].parameters:
            assert parameter in text, parameter


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_help_shows_the_whole_summary_of_each_command_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    for name, command in cli.commands.items():
        assert command.help
        assert f"{name} {' '.join(command.help.split(chr(10) * 2)[0].split())}" in text


def test_the_page_about_the_experiment_folder_is_up_to_date() -> None:
    assert (ROOT / "docs/experiment.md").read_text() == page()

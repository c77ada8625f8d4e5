"""`init` writes files that run as they stand, and `check-model` and `models` take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.catalog import MODELS
from trainables.plugin_code import add, read_file
from tune_app.commands.check_model import check_model, known_model
from tune_app.commands.init import write_model, write_space
from tune_app.commands.list_models import model_lines, models_document
from tune_app.config.load import load
from tune_app.errors import InputError


@pytest.fixture(autouse=True)
def _empty_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_added", {})


def test_the_model_that_init_writes_keeps_the_contract_and_its_space_is_valid(tmp_path: Path) -> None:
    code, space, test = write_model("mine_too", tmp_path / "new")
    assert [path.name for path in (code, space, test)] == ["mine_too.py", "mine_too.yaml", "test_mine_too.py"]
    compile(test.read_text(), test.name, "exec")
    add(read_file(code))
    assert load(space).model == "mine_too"
    outcomes = list(check_model("mine_too", {"width": "4", "batch_size": "4"}, "shapes", 16))
    assert len(outcomes) == 10
    assert not [one.line() for one in outcomes if not one.passed]


def test_a_broken_model_fails_its_check_with_the_line(tmp_path: Path) -> None:
    code, *_ = write_model("mine", tmp_path)
    text = code.read_text()
    broken = text.replace(
        "        noise = torch.randn(", "        raise KeyError('boom')\n        noise = torch.randn("
    )
    code.write_text(broken)
    add(read_file(code))
    outcomes = list(check_model("mine", {"width": "4", "batch_size": "4"}, "shapes", 16))
    line = broken[: broken.index("raise KeyError")].count("\n") + 1
    failed = [one.line() for one in outcomes if not one.passed]
    assert f"FAIL  training gives finite losses: mine.py:{line}: KeyError: 'boom'" in failed


@pytest.mark.parametrize("name", ["ncsn", "Mine", "my-model", "3d", "a b", ""])
def test_a_name_that_cannot_be_a_model_of_ones_own_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        write_model(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_model("mine", tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_space("ncsn", tmp_path / "mine.yaml")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("model", ["ncsn", "beta_vae", "branin"])
def test_the_space_of_a_model_searches_around_its_defaults(model: str, tmp_path: Path) -> None:
    config = load(write_space(model, tmp_path / "space.yaml"))
    assert config.model == model
    for name in config.parameters:
        assert config.space.parameters[name].complaint(MODELS[model].parameters[name].default) is None
    text = (tmp_path / "space.yaml").read_text()
    assert all(name in text for name in MODELS[model].parameters)


def test_models_lists_parameters_with_bounds_and_metrics() -> None:
    lines = model_lines("beta_vae", whole=True)
    assert lines[0] == "beta_vae: a model of images (built in), 19 parameters, metric kid"
    assert any(line.split()[:4] == ["latent_dim", "128", "(from", "1"] for line in lines)
    document = models_document(["beta_vae"])
    assert document["beta_vae"]["parameters"]["lr"]["above"] == 0  # type: ignore[index,call-overload]
    assert document["beta_vae"]["metrics"]["psnr"]["goal"] == "maximize"  # type: ignore[index,call-overload]
    with pytest.raises(InputError, match="nope: there is no such model"):
        known_model("nope")

"""Profiles, options and --set; dump and schema; the files that ship."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import search_spaces
import tune_app
from search_spaces.distributions import Categorical, Float, Int
from tests.tune_app.config.refused import GOOD
from tune_app.config import Overrides, SweepConfig, dump, find_space, load, profile_names, schema
from tune_app.config.load import load_resolved, restored
from tune_app.config.methods import with_methods_of, with_methods_written_out
from tune_app.config.model_parameters import model_parameters
from tune_app.config.profile import choose_profile
from tune_app.config.strict_yaml import read
from tune_app.config.yaml_dumper import dump_yaml
from tune_app.errors import ConfigError, InputError
from tune_app.plan import plan_warnings

FOLDER = Path(search_spaces.__file__).parent
SHIPPED = ["ncsn_space.yaml", "beta_vae_space.yaml", "branin_space.yaml"]
PROFILED = """
profiles:
  small:
    search: {trials: 3}
    scheduler: {trust: null}
    parameters: {lr: {high: 0.05}, clip: {type: float, low: 1, high: 2}}
  fixed:
    parameters: {lr: null, clip: {type: int, low: 1, high: 3}}
    fixed: {lr: 0.01}
  kinds:
    parameters: {lr: {type: categorical, choices: [0.01, 0.02]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a user's space.yaml"
    path.write_text(GOOD + PROFILED)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(path, **options)
    return str(caught.value)


def test_a_minimal_file_has_sensible_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    config = load(path)
    assert config.metric.name == "kid"
    assert (config.search.trials, config.scheduler.max_kimg, config.resources.gpu) == (40, 20_000, 0.25)
    assert config.space.parameters == {"lr": Float(low=0.001, high=0.1)}
    assert config.constants["num_scales"] == 50
    assert "lr" not in config.constants


def test_numbers_and_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "version: 1\nname: on\nmodel: ncsn\nparameters: {lr: {type: float, low: 1e-5, high: 1.}}\nfixed: {width: 010}\n"
    )
    config = load(path)
    assert config.name == "on"
    assert config.parameters["lr"] == Float(low=1e-5, high=1.0)
    assert config.fixed == {"width": 10}


def test_a_profile_overlays_key_by_key(file: Path) -> None:
    config = load(file, profile="small")
    assert config.search.trials == 3
    assert config.scheduler.trust is None
    assert config.parameters == {"lr": Float(low=0.001, high=0.05), "clip": Float(low=1, high=2)}
    assert config.profiles == {}


def test_null_removes_a_parameter_and_another_type_replaces_it(file: Path) -> None:
    assert load(file, profile="fixed").parameters == {"clip": Int(low=1, high=3)}
    assert load(file, profile="fixed").fixed == {"lr": 0.01}
    assert load(file, profile="kinds").parameters == {"lr": Categorical(choices=(0.01, 0.02))}


def test_without_a_profile_the_file_stands(file: Path) -> None:
    assert load(file).search.trials == 40
    assert profile_names(file) == ("small", "fixed", "kinds")


def test_set_overrules_options_and_options_overrule_the_profile(file: Path) -> None:
    assert load(file, profile="small", overrides=Overrides(trials=5)).search.trials == 5
    assert load(file, profile="small", overrides=Overrides(trials=5), set={"search.trials": "6"}).search.trials == 6


def test_options_reach_their_keys(file: Path) -> None:
    config = load(file, overrides=Overrides(data="folder:/my images", seed=7, name="b", wandb="offline"))
    assert (config.data.name, config.data.path) == ("folder", "/my images")
    assert (config.search.seed, config.name, config.wandb.mode) == (7, "b", "offline")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("parameters.lr.low", "1e-4", lambda c: c.parameters["lr"].low == 1e-4),
        ("parameters.lr", "{type: categorical, choices: [0.1]}", lambda c: c.parameters["lr"].choices == (0.1,)),
        ("fixed.arch", "refinenet", lambda c: c.fixed == {"arch": "refinenet"}),
        ("scheduler.type", "none", lambda c: c.scheduler.type == "none"),
        ("scheduler.trust", "null", lambda c: c.scheduler.trust is None),
        ("baselines", "[{lr: 0.01}]", lambda c: c.baselines == [{"lr": 0.01}]),
        ("baselines", [{"lr": 0.01}], lambda c: c.baselines == [{"lr": 0.01}]),
        ("budget.hours", 2, lambda c: c.budget.hours == 2),
        ("data", "{name: shapes}", lambda c: c.data.name == "shapes"),
    ],
)
def test_set_reaches_any_key(file: Path, key: str, value: Any, found: Any) -> None:
    assert found(load(file, set={key: value}))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("parameters.lr.hihg", "1", "parameters.lr.hihg: unknown key\n  hint: did you mean high?"),
        ("paramters.lr.high", "1", "paramters: unknown key\n  hint: did you mean parameters?"),
        ("parameters.lrr.high", "1", "parameters.lrr: ncsn has no parameter of that name\n  hint: did you mean lr?"),
        ("parameters.lrr", "null", "parameters.lrr: must be a block of `key: value`, not null"),
        ("parameters.clip.high", "1", "parameters.clip: needs a type"),
        ("search.trials", "many", "search.trials: must be a whole number, not 'many'"),
        ("parameters.lr.low", "0.5", "parameters.lr: high (0.1) must be above low (0.5)"),
        ("scheduler.max_kimg", "1", "scheduler: grace_kimg (740) must not exceed max_kimg (1)"),
        ("name.first", "a", "name: must be a string, not a block"),
        ("search.trials", "[1", "is not YAML"),
        ("search.trials", "!!int 3", "tags"),
        ("search.trials", "", "search.trials: must be a whole number, not ''"),
        ("profiles.x", "{}", "profiles belong in the file"),
        ("", "3", "unknown key"),
    ],
)
def test_a_bad_set_is_named(file: Path, key: str, value: str, words: str) -> None:
    message = refusal(file, set={key: value})
    assert message.startswith(f"--set {key}={value}: "), message
    assert words in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "--trials 0: search.trials: must be at least 1"),
        ({"data": "shape"}, "--data shape: data.name: must be one of"),
        ({"data": "shapes:x"}, "--data shapes:x: data: path goes with name: folder"),
        ({"name": "../evil"}, "--name ../evil: name: must be letters"),
        ({"wandb": "on"}, "--wandb on: wandb.mode: must be one of auto, online"),
    ],
)
def test_a_bad_option_is_named(file: Path, options: dict[str, Any], said: str) -> None:
    assert refusal(file, overrides=Overrides(**options)).startswith(said)


def test_an_unknown_profile_gets_the_nearest(file: Path) -> None:
    assert refusal(file, profile="smal").startswith("--profile smal: ")
    assert "did you mean small?" in refusal(file, profile="smal")


@pytest.mark.parametrize("profile", [None, "laptop"])
def test_a_mistake_of_the_file_is_reported_in_the_file_though_a_profile_overlays_its_block(
    profile: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        GOOD.replace("low: 0.001, high: 0.1", "low: 0.1, high: 0.01")
        + "scheduler: {max_kimg: 20, grace_kimg: 740}\n"
        + "profiles:\n  laptop:\n    parameters: {lr: {high: 0.02}}\n    scheduler: {max_kimg: 30}\n"
    )
    message = refusal(path, profile=profile)
    assert "profiles.laptop" not in message
    assert "parameters.lr: high (0.01) must be above low (0.1)" in message
    assert "space.yaml:6:1: scheduler: grace_kimg (740) must not exceed max_kimg (20)" in message


def test_a_mistake_of_a_profile_alone_is_reported_in_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(GOOD + "profiles:\n  laptop:\n    scheduler: {max_kimg: 30, grace_kimg: 740}\n")
    assert "space.yaml:8:5: profiles.laptop.scheduler: grace_kimg (740) must not exceed" in refusal(path)


def test_a_baseline_may_keep_a_value_that_another_profile_does_not_search(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        GOOD + "baselines: [{lr: 0.001}]\n"
        "profiles:\n  fixed:\n    parameters: {lr: null, ema: {type: float, low: 0.1, high: 0.9}}\n"
    )
    assert load(path).baselines
    assert load(path, profile="fixed").notes


@pytest.mark.parametrize("profile", [None, "laptop"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_valid_and_survive_a_round_trip(name: str, profile: str | None, tmp_path: Path) -> None:
    config = load(FOLDER / name, profile=profile)
    (tmp_path / "sweep.yaml").write_text(dump(config))
    assert load(tmp_path / "sweep.yaml") == config
    assert dump(load(tmp_path / "sweep.yaml")) == dump(config)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_follow_the_schema(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    assert text.startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(dump(load(FOLDER / name))))


def test_the_schema_file_is_fresh_and_refuses_unknown_keys() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads((FOLDER / "sweep.schema.json").read_text()) == schema(), "run `make schema`"
    with pytest.raises(jsonschema.ValidationError, match="serach"):
        jsonschema.validate({**yaml.safe_load(GOOD), "serach": {}}, schema())


def test_every_key_of_the_schema_has_a_description() -> None:
    blocks = {"SweepConfig": schema(), **schema()["$defs"]}
    assert all("description" in block for block in blocks.values())
    keys = [(f"{b}.{k}", key) for b, block in blocks.items() for k, key in block.get("properties", {}).items()]
    bare = [name for name, key in keys if "description" not in key and "$ref" not in key]
    assert bare == []


@pytest.mark.parametrize(
    "word", ["on", "1e5", "1_000", "null", "0x1F", "2020-01-01", "12:30:45", "~", "=", "a: b", "'", "é", "010"]
)
def test_words_that_look_like_something_else_survive_a_round_trip(word: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(dump_yaml({"word": word, "number": 1e-5}), encoding="utf-8")
    assert read(tmp_path / "a.yaml").data == {"word": word, "number": 1e-5}


def test_find_prefers_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space("ncsn_space.yaml") == FOLDER / "ncsn_space.yaml"
    (tmp_path / "ncsn_space.yaml").write_text(GOOD)
    assert load("ncsn_space.yaml").name == "a"
    with pytest.raises(InputError):
        find_space("elsewhere/ncsn_space.yaml")


def test_a_file_in_the_current_folder_is_named_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(GOOD + "foo: 1\n")
    with pytest.raises(ConfigError, match=r"^a\.yaml:6:1: foo: unknown key"):
        load("a.yaml")


def test_a_parameter_of_train_is_checked_like_a_fixed_one() -> None:
    assert model_parameters("ncsn", {"width": "32", "arch": "refinenet"})["width"] == 32
    with pytest.raises(ConfigError, match=r"--set widht=32: .*\n  hint: did you mean width\?"):
        model_parameters("ncsn", {"widht": "32"})
    with pytest.raises(ConfigError, match="--set width=wide: width: must be a number"):
        model_parameters("ncsn", {"width": "wide"})


def test_a_loaded_configuration_is_frozen() -> None:
    config: SweepConfig = load(FOLDER / "ncsn_space.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.name = "b"


def test_importing_the_configuration_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'wandb', 'optuna', 'numpy'}"
    code = f"import sys, tune_app.config; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fix_takes_a_parameter_out_of_the_search_and_out_of_the_baselines() -> None:
    config = load("ncsn_space.yaml", fix={"lr": "1e-3", "width": 64})
    assert "lr" not in config.parameters
    assert (config.constants["lr"], config.constants["width"]) == (1e-3, 64)
    assert all("lr" not in baseline for baseline in config.baselines)
    assert config.notes == ["baselines: lr is not searched, so their values of it are left out"]
    assert load("ncsn_space.yaml").notes == []
    with pytest.raises(ConfigError, match=r"--fix lrr=1: fixed\.lrr: ncsn has no parameter of that name"):
        load("ncsn_space.yaml", fix={"lrr": "1"})


@pytest.mark.parametrize("space", ["ncsn_space.yaml", "beta_vae_space.yaml"])
@pytest.mark.parametrize("profile", [None, "laptop"])
def test_null_removes_a_parameter_of_the_shipped_files_with_its_baselines(space: str, profile: str | None) -> None:
    config = load(space, profile=profile, set={"parameters.lr": "null"})
    assert "lr" not in config.parameters
    assert any("lr" in note for note in config.notes)


def test_a_baseline_may_set_what_is_not_searched_and_decides_its_own_conditions() -> None:
    searched = {"parameters.arch": "{type: categorical, choices: [unet, refinenet]}", "fixed.arch": "null",
                "parameters.groups": "{type: int, low: 4, high: 32, when: {arch: unet}}"}  # fmt: skip
    assert load("ncsn_space.yaml", set={"baselines": "[{clip: 5.0, init: uniform}]"}).baselines[0]["clip"] == 5.0
    assert load("ncsn_space.yaml", set={**searched, "baselines": "[{arch: unet, groups: 8}]"}).baselines
    with pytest.raises(ConfigError, match="is not searched when arch is refinenet"):
        load("ncsn_space.yaml", set={**searched, "baselines": "[{arch: refinenet, groups: 8}]"})


def test_the_path_of_the_data_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load("ncsn_space.yaml", overrides=Overrides(data="folder:pets"))
    assert config.data.path == str(tmp_path / "pets")
    assert load("ncsn_space.yaml", set={"data": "{name: folder, path: ~/pets}"}).data.path == str(Path.home() / "pets")


def test_a_grid_with_fewer_trials_than_points_says_so() -> None:
    grid = {"search.sampler": "grid", "parameters.x1": "{type: int, low: 0, high: 9}", "parameters.x2": "null"}
    short = load("branin_space.yaml", set={**grid, "search.trials": 4})
    assert plan_warnings(short)[-1] == "only 4 of the grid's 10 points run; for all of them: --trials 10"
    assert plan_warnings(load("branin_space.yaml", set={**grid, "search.trials": 10})) == []


def test_an_experiment_with_the_former_key_workspace_still_loads(tmp_path: Path) -> None:
    config = load("branin_space.yaml")
    saved = yaml.safe_load(dump(config))
    saved["wandb"]["workspace"] = False
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(saved))
    assert load_resolved(path) == restored(saved, path) == config
    assert saved["wandb"]["workspace"] is False, "the log's own data stays as it is"
    with pytest.raises(ConfigError, match="unknown key"):
        load(path)


@pytest.mark.parametrize(
    ("requested", "available", "gpus", "profile", "reason"),
    [
        (None, ["laptop"], 0, "laptop", "no GPU found"),
        (None, ["laptop"], 2, None, "2 GPUs found"),
        (None, ["small"], 0, None, "the file has no profile laptop"),
        ("none", ["laptop"], 0, None, "requested"),
        ("small", ["laptop"], 2, "small", "requested"),
    ],
)
def test_the_profile_follows_the_request_and_then_the_gpus(
    requested: str | None, available: list[str], gpus: int, profile: str | None, reason: str
) -> None:
    assert choose_profile(requested, available, lambda: gpus) == (profile, reason)


def test_python_chooses_the_profile_as_the_command_line_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert tune_app.load("ncsn_space.yaml") == load("ncsn_space.yaml", profile="laptop")
    assert tune_app.load("ncsn_space.yaml", profile="none") == load("ncsn_space.yaml")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("tune_app.cluster.this_machine.nvml_gpus", lambda: 1)
    assert tune_app.load("ncsn_space.yaml") == load("ncsn_space.yaml")


def test_an_experiment_keeps_the_methods_with_which_it_started(tmp_path: Path) -> None:
    old = {**load("ncsn_space.yaml").model_dump(mode="json", exclude={"profiles"})}
    assert "ladder" not in old["fixed"]
    path = tmp_path / "sweep.yaml"
    path.write_text(dump_yaml(old))
    resumed = load_resolved(path)
    assert resumed.constants["ladder"] == "uniform"
    assert restored(old, path) == resumed
    again = load("ncsn_space.yaml")  # the file of the user, which names no ladder
    assert with_methods_of(resumed, again).constants["ladder"] == "uniform"
    chosen = load("ncsn_space.yaml", fix={"ladder": "own"})
    assert with_methods_of(resumed, chosen).constants["ladder"] == "own"  # a change that the resume refuses

    new = with_methods_written_out(again)
    assert new.fixed["ladder"] == "free"
    path.write_text(dump(new))
    assert load_resolved(path) == new

"""The JSON schema knows each model's parameters and metrics, and accepts what the loader accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import search_spaces
from tests.tune_app.config.refused import BRANIN, GOOD, VAE
from trainables.catalog import MODELS
from tune_app.config import dump, load, profile_names, schema

FOLDER = Path(search_spaces.__file__).parent
SHIPPED = ["ncsn_space.yaml", "beta_vae_space.yaml", "branin_space.yaml"]
CHECK = jsonschema.Draft202012Validator(schema())
ACCEPTED = [
    GOOD,
    VAE,
    BRANIN + "  x1: {type: float, low: 0, high: 10}\n",
    GOOD + "metric: bpd\n",
    GOOD + "metrics: [kid, seconds]\n",
    VAE + "metrics: [{name: kid}, recon_mse]\n",
    VAE + "data: {name: shapes}\nmetric: {name: mig, goal: maximize}\n",
    GOOD + "  step_lr: {type: categorical, choices: [0.001, 1], stage: sampling}\n",
    GOOD + "  arch: {type: categorical, choices: [unet, refinenet]}\n  groups: {type: int, low: 4, high: 8, "
    "when: {arch: unet}}\n",
    GOOD + "fixed: {width: 32, ema_warmup: false, arch: refinenet, clip: 1}\nbaselines: [{lr: 0.01}, {}]\n",
    GOOD + "fixed: {ema: 0.9}\nprofiles:\n  a:\n    name: b\n    fixed: {ema: null, width: 8}\n    metric: bpd\n",
    GOOD + "profiles:\n  a:\n    parameters: {lr: null, clip: {type: int, low: 1, high: 3}}\n    scheduler: "
    "{trust: null}\n",
    GOOD + "metric: {name: bpd}\nprofiles:\n  a: {parameters: {lr: {high: 0.05}}, metric: {goal: minimize}}\n  b: {}\n",
    GOOD + "profiles:\n  a: {parameters: {lr: {type: categorical, choices: [0.01, 0.02]}}, baselines: [{lr: 0.01}]}\n",
    GOOD + "profiles:\n  other:\n    model: beta_vae\n    parameters: {beta: {type: float, low: 1, high: 2}}\n"
    "    fixed: {latent_dim: 8}\n    metric: recon_mse\n",
]
REFUSED = [
    (GOOD + "  sigma_begn: {type: float, low: 1, high: 2}\n", "sigma_begn"),
    (GOOD + "  beta: {type: float, low: 1, high: 2}\n", "beta"),
    (GOOD + "  width: {type: float, low: 4, high: 8}\n", "float"),
    (GOOD.replace("0.1}", "2}"), "2"),
    (GOOD + "metric: {name: fid}\n", "fid"),
    (GOOD + "metric: mig\n", "mig"),
    (GOOD + "metrics: [kid, fid]\n", "fid"),
    (GOOD + "fixed: {widht: 8}\n", "widht"),
    (GOOD + "fixed: {width: null}\n", "None"),
    (GOOD + "fixed: {arch: resnet}\n", "resnet"),
    (GOOD + "fixed: {ema_warmup: 1}\n", "1"),
    (GOOD + "baselines: [{lrr: 0.01}]\n", "lrr"),
    (GOOD + "profiles: {a: {parameters: {lrr: {high: 0.05}}}}\n", "lrr"),
    (GOOD + "profiles: {a: {fixed: {widht: 8}}}\n", "widht"),
    (GOOD + "profiles: {a: {serach: {trials: 1}}}\n", "serach"),
    (GOOD + "profiles: {a: {metric: {name: fid}}}\n", "fid"),
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_schema_accepts_what_the_loader_accepts(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    for profile in (None, *profile_names(path)):
        CHECK.validate(yaml.safe_load(dump(load(path, profile=profile))))
    CHECK.validate(yaml.safe_load(text))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_follow_the_schema_in_every_profile(name: str) -> None:
    CHECK.validate(yaml.safe_load((FOLDER / name).read_text()))
    for profile in (None, *profile_names(FOLDER / name)):
        CHECK.validate(yaml.safe_load(dump(load(FOLDER / name, profile=profile))))


@pytest.mark.parametrize(("text", "word"), REFUSED)
def test_the_schema_refuses_unknown_names_and_values_out_of_bounds(text: str, word: str) -> None:
    messages = [error.message for error in CHECK.iter_errors(yaml.safe_load(text))]
    assert any(word in message for message in messages), messages


def definition(model: str, part: str) -> Any:
    return schema()["$defs"][f"{model}_{part}"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", ["ranges", "values", "values_or_null"])
def test_each_parameter_has_its_help_default_and_choices(model: str, part: str) -> None:
    properties = definition(model, part)["properties"]
    assert properties.keys() == MODELS[model].parameters.keys()
    for name, parameter in MODELS[model].parameters.items():
        text = properties[name]["description"]
        assert text.startswith(f"{parameter.help}. Default: ")
        assert all(str(choice).lower() in text for choice in parameter.choices)


@pytest.mark.parametrize("model", MODELS)
def test_each_metric_has_its_help_and_warning(model: str) -> None:
    offered = {one["const"]: one["description"] for one in definition(model, "metric")["anyOf"][0]["oneOf"]}
    assert offered.keys() == MODELS[model].metrics.keys()
    for name, metric in MODELS[model].metrics.items():
        assert metric.help in offered[name]
        assert metric.warning in offered[name]

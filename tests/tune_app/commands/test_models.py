"""Drawing from a trained model, and exporting it: the same images, and a sentence for everything that is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import tune_app
from tests.events import asked, changed, ended, reported, started
from trainables import checkpoint
from trainables.trial import Trial
from tune_app.cli.root import cli
from tune_app.commands.export import export
from tune_app.commands.sample import SampleRequest, sample
from tune_app.config.load import dump, load
from tune_app.driver.trial_spec import run_spec
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment

TINY = {
    "ncsn": {"lr": 1e-3, "sigma_begin": 1.0, "sigma_end": 0.02, "num_scales": 10},
    "beta_vae": {"lr": 1e-3, "beta": 0.05, "latent_dim": 6},
}
SETTINGS = {
    "ncsn": {"fixed.width": 8, "fixed.groups": 2, "evaluation.nfe": 6},
    "beta_vae": {"fixed.width": 8},
}
KIMG = 0.064


@pytest.fixture(scope="module", params=["ncsn", "beta_vae"])
def swept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shapes_cache: Path
) -> Iterator[Experiment]:
    """Return an experiment with one completed trial and its checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_APP_CACHE", str(shapes_cache))
        patch.setattr("trainables.metrics.disentanglement.TREES", 2)
        yield trained(request.param, tmp_path_factory.mktemp("experiments"))


def trained(model: str, folder: Path) -> Experiment:
    made = Experiment(folder / model)
    (made.trials / "0000").mkdir(parents=True)
    sizes = {"scheduler.max_kimg": KIMG, "scheduler.grace_kimg": KIMG, "evaluation.report_kimg": KIMG,
             "evaluation.final_samples": 16, "evaluation.samples": 16}  # fmt: skip
    config = load(f"{model}_space.yaml", profile="laptop", set={**sizes, **SETTINGS[model]})
    made.sweep_yaml.write_text(dump(config))
    spec = run_spec(config, TINY[model], seed=3)
    trial = Trial(spec, rungs=[KIMG], report_kimg=KIMG)
    report = trial.advance()
    name = checkpoint.name_at(trial.images)
    trial.save(made.trial("0000") / name)
    line = changed(
        reported("0000", KIMG, "stop", **{name: v for name, v in report.metrics.items() if v == v}),
        checkpoint=f"trials/0000/{name}", sampling=report.sampling,
    )  # fmt: skip
    events = [started(), asked("0000", **TINY[model]), line, ended("0000", kimg=KIMG)]
    made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in events))
    return made


def request(swept: Experiment, out: Path | None, **changes: Any) -> SampleRequest:
    fields = {"where": str(swept.folder), "experiments": swept.folder.parent, "trial": None, "count": 5, "seed": 1,
              "nfe": None, "sampling": {}, "out": out}  # fmt: skip
    return SampleRequest(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(swept: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(str(swept.folder), swept.folder.parent, "0000", tmp_path_factory.mktemp("exported") / "model")


def test_an_exported_model_draws_the_images_of_its_trial(swept: Experiment, exported: Path) -> None:
    ours = tune_app.load_model(exported).sample(5, seed=4)
    assert ours.shape == (5, 3, 16, 16)
    assert 0 <= float(ours.min()) < float(ours.max()) <= 1
    assert torch.equal(ours, tune_app.load_model(swept.folder.name, out=swept.folder.parent).sample(5, seed=4))
    result = tune_app.open(swept.folder.name, out=swept.folder.parent).best()
    assert result
    assert tune_app.load_model(swept.folder / str(result.checkpoint)).sample(2, nfe=4).shape == (2, 3, 16, 16)
    assert not torch.equal(ours, tune_app.load_model(exported).sample(5, seed=5))


def test_an_animation_ends_with_the_images_of_the_same_seed(swept: Experiment, tmp_path: Path) -> None:
    way = tmp_path / "way.gif"
    if swept.config().model == "beta_vae":
        with pytest.raises(InputError, match="--animate needs an NCSN: beta_vae draws an image at once"):
            sample(request(swept, None, animate=way))
        assert not way.exists()
        return
    assert sample(request(swept, None, animate=way)) == [way]
    with Image.open(way) as picture:
        assert (picture.n_frames, picture.size) == (7, (332, 68)), "the start and 6 evaluations, five images in a row"
        picture.seek(6)
        assert picture.info["duration"] == 2000
    model = tune_app.load_model(swept.folder.name, out=swept.folder.parent)
    states = model.anneal(5, frames=4, seed=1)
    assert torch.equal(states[-1], model.sample(5, seed=1))
    assert len(states) == 4
    assert not torch.equal(states[0], states[-1])
    assert len(model.anneal(2, frames=61, seed=1, sampler="heun")) == 5
    with pytest.raises(InputError, match=r"way\.gif exists already"):
        sample(request(swept, None, animate=way))
    with pytest.raises(InputError, match=r"must end in \.gif"):
        sample(request(swept, None, animate=tmp_path / "way.png"))
    both = [tmp_path / "two.gif", tmp_path / "two.png"]
    assert sample(request(swept, both[1], animate=both[0])) == both


def test_the_script_in_the_model_card_draws_the_same_images_in_a_fresh_process(exported: Path, tmp_path: Path) -> None:
    card = (exported / "README.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    script = script.replace("PATH OF THIS FOLDER", str(exported)).replace("images.png", str(tmp_path / "images.png"))
    script += "import hashlib; print(hashlib.sha256(images.numpy().tobytes()).hexdigest())"
    fresh = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    ours = tune_app.load_model(exported).sample(64, seed=0)
    assert fresh.stdout.strip() == sha256(ours.numpy().tobytes()).hexdigest()
    with Image.open(tmp_path / "images.png") as picture:
        assert picture.width > 100
    assert "trial 0000" in card
    assert "8,000 training images" in card
    assert {path.name for path in exported.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "samples.png",
    }


def test_samples_come_as_a_grid_an_array_and_single_files(swept: Experiment, tmp_path: Path) -> None:
    files = sample(request(swept, tmp_path / "grid.png", each=tmp_path / "single"))
    assert files == [tmp_path / "grid.png", tmp_path / "single"]
    singles = []
    for path in sorted((tmp_path / "single").iterdir()):
        with Image.open(path) as single:
            singles.append(np.asarray(single))
    sample(request(swept, tmp_path / "images.npz"))
    array = np.load(tmp_path / "images.npz")["images"]
    assert (array.shape, array.dtype) == ((5, 16, 16, 3), np.uint8)
    assert np.array_equal(array, np.stack(singles))


def test_pictures_of_a_beta_vae_are_drawn_beside_the_grid(swept: Experiment, tmp_path: Path) -> None:
    asked_for = request(swept, tmp_path / "a.png", pictures=("reconstructions", "traversal", "interpolation"))
    if swept.folder.name == "beta_vae":
        assert [path.name for path in sample(asked_for)] == [
            "a.png", "a-reconstructions.png", "a-traversal.png", "a-interpolation.png",
        ]  # fmt: skip
    else:
        with pytest.raises(InputError, match="need a Beta-VAE"):
            sample(asked_for)


def test_a_sampling_value_replaces_that_of_the_sweep(swept: Experiment, tmp_path: Path) -> None:
    given = request(swept, tmp_path / "a.npz", sampling={"step_size": "9"})
    if swept.folder.name == "ncsn":
        sample(given)
        sample(request(swept, tmp_path / "b.npz", nfe=20))
        sample(request(swept, tmp_path / "c.npz"))
        drawn = [np.load(tmp_path / f"{name}.npz")["images"] for name in "abc"]
        assert not np.array_equal(drawn[0], drawn[2])
        assert not np.array_equal(drawn[1], drawn[2])
    else:
        with pytest.raises(InputError, match="no sampling parameter step_size"):
            sample(given)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sample", "EXP", "--out", "there.png"), "there.png exists already"),
        (("sample", "EXP", "--out", "grid.gif"), "must end in .png or .npz"),
        (("sample", "EXP", "--trial", "0007"), "--trial 0007: no such trial has reached a rung"),
        (("sample", "nowhere"), "not an experiment folder"),
        (("sample", "EXP", "--out", "gone/a.png"), "--out gone/a.png: there is no folder"),
        (("sample", "EXP", "--out", "a.png", "--each", "there.png/b"), "there.png is not a folder"),
        (("export", "EXP", "--out", "there.png"), "there.png exists already"),
        (("export", "EXP", "--out", "there.png/below"), "there.png is not a folder"),
        (("export", "broken", "--out", "new"), "is not the description of an exported model"),
        (("export", "EXP", "--trial", "x", "--out", "new"), "no such trial"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_nothing_is_overwritten(
    swept: Experiment, command: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_bytes(b"mine")
    Path("broken").mkdir()
    Path("broken", "config.json").write_text("{}")
    words_of = [str(swept.folder) if word == "EXP" else word for word in command]
    result = CliRunner().invoke(cli, words_of)
    assert isinstance(result.exception, InputError)
    assert words in str(result.exception)
    assert Path("there.png").read_bytes() == b"mine"
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "gan"}, "there is no model 'gan'"),
        ({"params": {"lr": 1e9}}, "lr must lie in"),
        ({"params": {"depth": 3}}, "has no parameter 'depth'"),
        ({"shape": [3, 16, 8]}, "is not that of images"),
        ({"nfe": 0}, "nfe must be a whole number"),
        ({"format": 9}, "it has format 9"),
    ],
)
def test_a_changed_description_is_refused(exported: Path, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, **change}))
    with pytest.raises(InputError, match=words):
        tune_app.load_model(folder)


def test_a_checkpoint_of_another_model_is_refused_in_a_sentence(swept: Experiment, tmp_path: Path) -> None:
    copied = Experiment(Path(shutil.copytree(swept.folder, tmp_path / "copied")))
    (checkpoint_folder,) = copied.trial("0000").iterdir()
    about = json.loads((checkpoint_folder / "about.json").read_text())
    other = "ncsn" if about["spec"]["model"] == "beta_vae" else "beta_vae"
    about["spec"]["model"] = other
    (checkpoint_folder / "about.json").write_text(json.dumps(about))
    for source in (copied.folder, checkpoint_folder):
        with pytest.raises(InputError, match=f"it says that it is a {other}, which has no") as refused:
            export(str(source), tmp_path, None, tmp_path / "new")
        assert "\n" not in str(refused.value)

    if other == "beta_vae":
        (theirs,) = trained(other, tmp_path).trial("0000").iterdir()
        shutil.copytree(theirs, checkpoint_folder, dirs_exist_ok=True)
        with pytest.raises(InputError, match="a checkpoint of beta_vae, and the sweep is one of ncsn"):
            sample(request(copied, tmp_path / "a.png"))
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "a.png").exists()


def test_damaged_weights_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"model\.safetensors does not fit config\.json"):
        tune_app.load_model(folder)

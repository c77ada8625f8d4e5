"""A look at the images before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tune_app.config.images import look_at_images
from tune_app.config.load import Overrides, load
from tune_app.config.schema import SweepConfig
from tune_app.driver import sweep
from tune_app.errors import InputError


@pytest.fixture
def photos(folder: Path) -> Path:
    """Return a folder of 28x28 images without classes."""
    (folder / "photos").mkdir()
    for number in range(12):
        Image.new("L", (28, 28), number).save(folder / "photos" / f"{number:02}.png")
    return folder / "photos"


def configured(photos: Path, **data: object) -> SweepConfig:
    block = json.dumps({"name": "folder", "path": str(photos), "resize": {"side": 16}, "resolution": 16, **data})
    return load("beta_vae_space.yaml", profile="laptop", set={"data": block})


def test_the_images_are_counted(photos: Path) -> None:
    found = look_at_images(configured(photos))
    assert found
    assert (found.count, found.sizes) == (12, {"28x28": 12})


def test_the_first_problem_is_an_input_error(photos: Path) -> None:
    with pytest.raises(InputError, match=r"data: .*photos: images of 28x28 pixels do not fit resolution 16"):
        look_at_images(configured(photos, resize=None))
    with pytest.raises(InputError, match=r"data: .*nowhere is not a folder"):
        look_at_images(configured(photos / "nowhere"))


def test_cnn_features_need_classes(photos: Path) -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={
        "data": f"{{name: folder, path: {json.dumps(str(photos))}, resize: {{side: 16}}, resolution: 16}}",
        "evaluation.features": "cnn",
    })  # fmt: skip
    with pytest.raises(InputError, match=r"evaluation\.features: cnn needs images of two classes or more"):
        look_at_images(config)


def test_there_is_nothing_to_look_at_on_a_cluster_or_in_a_built_in_data_set(photos: Path) -> None:
    assert look_at_images(configured(photos / "nowhere"), address="auto") is None
    assert look_at_images(load("branin_space.yaml")) is None
    assert look_at_images(load("beta_vae_space.yaml", profile="laptop")) is None


def test_a_sweep_looks_before_ray_starts(photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(sweep.ray_cluster, "started", start)
    with pytest.raises(InputError, match="do not fit resolution 16"):
        sweep.run_sweep(configured(photos, resize=None), out=folder)


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_validate_and_plan_show_the_images_and_import_no_torch(photos: Path, folder: Path, command: str) -> None:
    code = """
import sys
from tune_app.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
print("torch" in sys.modules)
"""
    options = ["beta_vae_space.yaml", "--profile", "laptop", "--data", "folder:photos", "--set", "data.resize.side=16"]
    done = subprocess.run([sys.executable, "-c", code, command, *options], cwd=folder, capture_output=True, text=True)
    assert "12 images without classes; a tenth of them is held out for test" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_another_data_set_drops_the_path_and_the_resizing_of_the_file(photos: Path) -> None:
    text = "version: 1\nname: a\nmodel: ncsn\ndata: {name: folder, path: photos, resize: {side: 64}}\n"
    text += "parameters: {lr: {type: float, low: 0.1, high: 0.2}}\nprofiles: {laptop: {data: {name: shapes}}}\n"
    (photos / "space.yaml").write_text(text)
    for options in ({"overrides": Overrides(data="digits")}, {"profile": "laptop"}):
        data = load(photos / "space.yaml", **options).data  # type: ignore[arg-type]
        assert (data.name in ("digits", "shapes"), data.path, data.resize) == (True, None, None)
    assert load(photos / "space.yaml").data.resolution == 64


def test_the_usual_resolution_and_channels_follow_from_the_data_set(photos: Path) -> None:
    digits = load("beta_vae_space.yaml", profile="laptop", set={"data.name": "digits"}).data.spec()
    assert (digits.channels, digits.resolution) == (1, 16)
    for block, resolution in (("{name: npz, path: x}", 32), ("{name: npz, path: x, resize: {side: 64}}", 64)):
        searched = "parameters: {lr: {type: float, low: 0.1, high: 0.2}}"
        (photos / "space.yaml").write_text(f"version: 1\nname: a\nmodel: ncsn\ndata: {block}\n{searched}\n")
        spec = load(photos / "space.yaml").data.spec()
        assert (spec.channels, spec.resolution) == (3, resolution)

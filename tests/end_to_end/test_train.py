"""The command `train`: options as in the reference project's scripts, resume, and its W&B run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli
from tests.wandb_server import WandbServer
from tune_app.cli.signals import stop_on_signal
from tune_app.commands.train import TrainingInterruptedError, TrainRequest, resume_training, train_once
from tune_app.commands.training_folder import TrainingFolder

SMALL = {"latent_dim": "4", "width": "8", "batch_size": "16", "beta": "4.0", "lr_decay": "cosine"}


@pytest.fixture
def album(folder: Path) -> Path:
    """Return a folder of 180 training and 40 test images of noise, 16 x 16 pixels, in two classes."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 90), ("test", 20)):
        for name in ("cat", "dog"):
            place = folder / "album" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return folder / "album"


def request(album: Path, out: Path, epochs: int) -> TrainRequest:
    return TrainRequest(
        model="beta_vae", data=f"folder:{album}", resolution=16, epochs=epochs, seed=3, out=out, wandb="disabled",
        params=SMALL,
    )  # fmt: skip


def rows(place: Path) -> list[dict[str, float]]:
    lines = (place / "history.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def numbers(document: dict[str, object]) -> dict[str, float]:
    metrics = document["metrics"]
    assert isinstance(metrics, dict)
    return {name: value for name, value in metrics.items() if not name.endswith("seconds")}


def test_an_interrupted_and_resumed_training_gives_the_numbers_of_an_unbroken_one(album: Path, tmp_path: Path) -> None:
    whole = train_once(request(album, tmp_path / "whole", 6), print)
    looks = iter([False] * 10 + [True] * 100)  # three looks an epoch: it stops within the fourth
    with pytest.raises(TrainingInterruptedError, match="interrupted in epoch 4") as caught:
        train_once(request(album, tmp_path / "broken", 6), print, lambda: next(looks))
    (place,) = (tmp_path / "broken").iterdir()
    shown = str(caught.value.hint).removeprefix("resume with: python -m tune_app train --resume ")
    assert Path(shown).resolve() == place.resolve()
    assert {path.name for path in (place / "checkpoints").iterdir()} == {"last"}
    resumed = resume_training(place, None, "disabled", print)
    assert numbers(resumed) == numbers(whole)
    assert rows(place) == rows(Path(str(whole["folder"])))
    assert [row["epoch"] for row in rows(place)] == [1, 2, 3, 4, 5, 6]
    (kept,) = (place / "checkpoints").iterdir()
    assert kept.name == "beta_vae_epoch_6"
    assert json.loads((kept / "about.json").read_text())["spec"]["max_kimg"] == 6 * 162 / 1000  # a tenth is held out


def test_an_old_training_folder_keeps_its_network(tmp_path: Path) -> None:
    params = {"beta": 4.0, "latent_dim": 4}
    settings = {"model": "beta_vae", "params": params, "seed": 0, "epochs": 1, "data": {"name": "shapes"}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    read = TrainingFolder(tmp_path).read_settings()
    assert (read.params["network"], read.params["beta"]) == (1, 4.0)


def test_a_hang_up_that_nohup_ignores_does_not_stop_a_training() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal(print) as stopping:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopping()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.ray
def test_a_training_is_one_wandb_run_that_an_interruption_does_not_split(album: Path, cli: Cli, folder: Path) -> None:
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    options = ["--data", "folder:album", "--resolution", "16", "--epochs", "400", "--wandb", "online"]
    with WandbServer() as server:
        environment = server.environment(folder.parent / "home")
        with subprocess.Popen(
            [sys.executable, "-m", "tune_app", "train", "beta_vae", *words, *options],
            cwd=folder, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout
            output = ""
            for line in process.stdout:
                output += line
                if line.startswith("epoch 6/"):
                    process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130, output
        (run,) = server.runs.values()
        assert run.state == "preempted"
        trained = int(output.split("interrupted in epoch ")[1].split()[0]) - 1
        (place,) = (folder / "experiments").iterdir()
        done = cli("train", "--resume", str(place), "--epochs", str(trained + 2), env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = server.runs.values()
        assert run.state == "finished"
        assert [row["epoch"] for row in run.history] == list(range(1, trained + 3))
        assert {"train_loss", "epoch_loss", "recon_loss", "kl_loss", "beta_kl_loss"} <= run.history[0].keys()
        assert "kid" in run.history[-1]
        assert any(name.startswith("media/images/generated_samples") for name in run.files)
        assert run.config["beta"] == 4.0
    checkpoint = json.loads((place / "metrics.json").read_text())["checkpoint"]
    scored = cli("score", checkpoint, "--samples", "16", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["params"]["latent_dim"] == 4
    assert "there is no experiment yet" in cli("status", "latest").stderr

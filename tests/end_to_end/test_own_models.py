"""Models of users: swept, killed, resumed, re-evaluated and exported; what is wrong in them fails a trial, no more."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, Sweep
from tune_app.experiment.out_folder import newest

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = [
    "fixed.width=8", "evaluation.nfe=2", "recheck.nfe=2",
    "scheduler.max_kimg=3", "scheduler.grace_kimg=1", "fixed.batch_size=32", "evaluation.report_kimg=0.25",
    "evaluation.samples=32", "evaluation.final_samples=32",
    "recheck.samples=32", "recheck.trials=1", "search.trials=2",
]  # fmt: skip
LOAD = """
import sys, torch, tune_app
folder, code = sys.argv[1:]
model = tune_app.load_model(folder, models=[code])
first, again = model.sample(4, seed=1), model.sample(4, seed=1)
assert first.shape == (4, 3, 16, 16) and torch.equal(first, again)
print(first.double().sum().item())
"""
FAULTY = '''
"""One model with a fault for each word."""
import os
import torch
from torch import nn
from trainables.plugin import ImageModel, Metric, Parameter, image_model


class Faulty(ImageModel):
    def __init__(self, params, images):
        self.fault, self.shape = params["fault"], images.shape
        self.network = nn.Conv2d(3, 3, 1)

    def loss(self, network, x, kimg, generator):
        error = (network(x) - x).square().flatten(1).mean(1)
        return {"mean": error.mean(), "nan": error * float("nan")}.get(self.fault, error)

    def sample(self, network, count, sampling, nfe, generator):
        if self.fault == "raise":
            raise KeyError("boom")
        if self.fault == "exit":
            os._exit(3)
        side = 2 if self.fault == "shape" else 16
        return torch.rand(count, 3, side, side, generator=generator)


WORDS = ("none", "raise", "nan", "shape", "mean", "exit")
MODELS = {"faulty": image_model(Faulty, {"fault": Parameter("none", "what goes wrong", choices=WORDS)})}
METRICS = {
    "spread": Metric("standard deviation", maximize=True, of_samples=lambda x, real, network: x.float().std().item())
}
'''
FAULTY_SPACE = """
version: 1
name: faulty
model: faulty
data: {name: npz, path: images.npz, resolution: 16}
metric: {name: spread}
parameters:
  fault: {type: categorical, choices: [none, raise, nan, shape, mean, exit]}
search: {sampler: grid}
fixed: {batch_size: 32}
scheduler: {type: none, max_kimg: 0.1}
evaluation: {samples: 16, final_samples: 16, nfe: 2, report_kimg: 0.1, features: randconv}
recheck: {trials: 1, draws: 2, samples: 16, nfe: 2}
resources: {cpu: 1, gpu: 0}
failures: {retries: 0}
wandb: {mode: disabled}
"""


@pytest.fixture
def images(folder: Path) -> None:
    """Write images.npz with 200 images of noise."""
    np.savez(folder / "images.npz", images=np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), np.uint8))


@pytest.mark.usefixtures("images")
def test_the_example_with_two_optimisers_keeps_the_contract_and_its_space_is_valid(cli: Cli) -> None:
    models = ("--models", str(EXAMPLES / "dcgan.py"))
    checked = cli("check-model", "dcgan", *models, "--set", "width=4", "--data", "npz:images.npz")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert cli("validate", str(EXAMPLES / "dcgan.yaml"), *models).returncode == 0


@pytest.mark.ray
@pytest.mark.usefixtures("images")
def test_an_example_is_swept_killed_resumed_re_evaluated_and_exported(cli: Cli, folder: Path) -> None:
    code = folder / "flow_matching.py"
    shutil.copy(EXAMPLES / code.name, code)
    sets = [word for one in TINY for word in ("--set", one)]
    command = [
        sys.executable,
        "-m",
        "tune_app",
        "run",
        str(EXAMPLES / "flow_matching.yaml"),
        "--models",
        code.name,
        *sets,
    ]
    command += ["--data", "npz:images.npz", "--set", "data.resolution=16"]
    driver = subprocess.Popen(
        [*command, "--wandb", "disabled"], cwd=folder, env={**os.environ, "COLUMNS": "120"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert driver.stdout
    said = []
    while "at 1 kimg" not in (line := driver.stdout.readline()):
        said.append(line)
        assert line, said
    driver.send_signal(signal.SIGKILL)
    driver.communicate()

    original = code.read_text()
    code.write_text(original + "# changed\n")
    refused = cli("resume", "latest")
    assert refused.returncode == 2
    assert "flow_matching.py has changed since the experiment started: its SHA-256 was" in refused.stderr
    assert "models/flow_matching.py" in refused.stderr
    assert cli("best", "latest").returncode == 0, "no code is needed to read an experiment"

    code.write_text(original)
    done = cli("resume", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    experiment = newest(folder / "experiments")
    assert experiment
    sweep = Sweep(experiment.folder)
    assert {event["state"] for event in sweep.of("ended")} <= {"completed", "stopped"}
    assert len(sweep.of("ended")) == 2
    assert len(sweep.of("rechecked")[0]["draws"]) == 2
    (plugin,) = sweep.of("sweep_started")[0]["plugins"]
    assert (plugin["name"], len(plugin["sha256"])) == (code.name, 64)
    assert (experiment.folder / "models" / code.name).read_text() == original
    assert not any(original[:200] in path.read_text() for path in experiment.trials.rglob("about.json"))

    code.unlink()
    copy = f"{experiment.folder}/models/{code.name}"
    exported = cli("export", "latest", "--out", "exported", "--models", copy)
    assert exported.returncode == 0, exported.stderr
    assert f'models=["PATH OF THIS FOLDER/{code.name}"]' in (folder / "exported/README.md").read_text()
    load = [sys.executable, "-c", LOAD, "exported", f"exported/{code.name}"]
    loaded = subprocess.run(load, cwd=folder, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    unnamed = cli("sample", "exported")
    assert unnamed.returncode == 2
    assert f"its model is defined in '{code.name}'" in unnamed.stderr


@pytest.mark.ray
@pytest.mark.usefixtures("images")
def test_a_fault_in_the_code_fails_its_trial_with_a_sentence_that_names_the_file(cli: Cli, folder: Path) -> None:
    (folder / "my_models.py").write_text(FAULTY)
    (folder / "space.yaml").write_text(FAULTY_SPACE)
    done = cli("run", "space.yaml", "--models", "my_models.py")
    assert done.returncode == 0, done.stdout + done.stderr
    experiment = newest(folder / "experiments")
    assert experiment
    sweep = Sweep(experiment.folder)
    faults = {event["trial"]: event["params"]["fault"] for event in sweep.of("asked")}
    failures = {faults[event["trial"]]: (event["kind"], event["message"]) for event in sweep.of("failed")}
    line = FAULTY[: FAULTY.index("raise KeyError")].count("\n") + 1
    assert failures == {
        "raise": ("error", f"my_models.py:{line}: KeyError: 'boom'"),
        "nan": ("non_finite", "my_models.py: loss became nan before 128 images; lower lr or clip gradients"),
        "shape": (
            "error",
            "my_models.py: ValueError: sample must return images of shape (16, 3, 16, 16), not (16, 3, 2, 2)",
        ),
        "mean": (
            "error",
            "my_models.py: ValueError: loss must have one value for each image, shape (32,), not ()",
        ),
        "exit": (
            "worker_lost",
            "the worker process or its node was lost (its model is defined in my_models.py)",
        ),
    }
    (ended,) = [event for event in sweep.of("ended") if event["state"] == "completed"]
    assert faults[ended["trial"]] == "none"
    assert 0 < ended["metrics"]["spread"] < 255
    assert sweep.summary["metric"] == {"name": "spread", "goal": "maximize"}

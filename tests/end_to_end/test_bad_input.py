"""Invalid input ends with exit code 2 and one clear sentence, prints no traceback and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

FAULTS = Path(__file__).parents[1] / "faults"
BRANIN = ("run", "branin_space.yaml")
REFUSED = {
    "no file": (("run", "absent.yaml"), "no such file"),
    "unknown key": ((*BRANIN, "--set", "search.trails=3"), "did you mean trials"),
    "unknown model": ((*BRANIN, "--set", "model=gan"), "gan"),
    "unknown metric": ((*BRANIN, "--set", "metric.name=fid"), "no metric fid"),
    "unknown data": (("run", "ncsn_space.yaml", "--data", "mnist"), "mnist"),
    "no folder": (("run", "ncsn_space.yaml", "--profile", "laptop", "--data", "folder:absent dir"), "absent dir"),
    "impossible range": ((*BRANIN, "--set", "parameters.x1.low=20"), "must be above low"),
    "range the model does not take": ((*BRANIN, "--set", "parameters.x1.high=99"), "[-5, 10]"),
    "too many CPUs": ((*BRANIN, "--set", "resources.cpu=4000"), "4000 CPUs"),
    "GPU that is not there": ((*BRANIN, "--set", "resources.gpu=1"), "1 GPUs"),
    "name that leaves the folder": ((*BRANIN, "--name", "../evil"), "../evil"),
    "unknown profile": ((*BRANIN, "--profile", "desktop"), "desktop"),
    "set without a value": ((*BRANIN, "--set", "search.trials"), "KEY=VALUE"),
    "trials that are none": ((*BRANIN, "--trials", "0"), "--trials 0"),
    "no experiment": (("status", "absent"), "not an experiment folder"),
    "no experiment yet": (("best", "latest"), "there is no experiment yet"),
    "model that train does not know": (("train", "gan"), "no such model"),
    "parameter that train does not know": (("train", "ncsn", "--set", "sigma=1"), "sigma"),
    "value that train does not take": (("train", "beta_vae", "--set", "beta=-1"), "beta"),
    "model that trains nothing": (("train", "branin"), "trains nothing"),
    "list without quotes": (
        ("plan", "beta_vae_space.yaml", "--set", "metrics=[kid,", "recon_mse]"),
        "'metrics=[kid, recon_mse]'",
    ),
    "unknown command": (("sweep",), "No such command"),
    "unknown option": ((*BRANIN, "--trails", "3"), "No such option"),
}


@pytest.mark.parametrize(("args", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_input_is_refused_with_a_sentence(cli: Cli, folder: Path, args: tuple[str, ...], sentence: str) -> None:
    done = cli(*args, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(folder.rglob("events.jsonl"))


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_starts(cli: Cli, folder: Path) -> None:
    (folder / "file").touch()
    done = cli(*BRANIN, "--out", "file/below")
    assert done.returncode == 2
    assert "cannot write the experiment there (Not a directory)" in done.stderr


def test_json_keeps_stdout_empty_when_the_input_is_refused(cli: Cli) -> None:
    done = cli(*BRANIN, "--json", "--trials", "-1")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_file_in_the_folder_goes_before_the_shipped_one(cli: Cli, folder: Path) -> None:
    text = "version: 1\nname: mine\nmodel: branin\nparameters:\n  x1: {type: float, low: 5, high: 1}\n"
    (folder / "branin_space.yaml").write_text(text)
    done = cli("validate", "branin_space.yaml")
    assert done.returncode == 2
    assert "branin_space.yaml:5:" in done.stderr


@pytest.mark.parametrize(
    "command", [("--help",), ("validate", "ncsn_space.yaml"), ("plan", "ncsn_space.yaml", "--json")]
)
def test_looking_imports_neither_torch_nor_ray_nor_wandb(folder: Path, command: tuple[str, ...]) -> None:
    code = """
import sys
from tune_app.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
print([name for name in ("torch", "ray", "wandb", "optuna") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=folder, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


def test_plan_says_what_would_run(cli: Cli) -> None:
    plan = json.loads(cli("plan", "ncsn_space.yaml", "--profile", "laptop", "--json", "--trials", "8").stdout)
    assert (plan["trials"], plan["baselines"], plan["rungs"]) == (8, 2, [14.0, 28.0])
    assert plan["kimg_most"] == 8 * 28
    assert plan["survivors"] == [8, 4]
    assert plan["kimg_least"] == 8 * 14 + 4 * 14


def test_the_first_line_says_which_profile_why_and_how_to_choose(cli: Cli) -> None:
    faults = {"PYTHONPATH": os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))}
    without = cli("plan", "ncsn_space.yaml", env={"CUDA_VISIBLE_DEVICES": ""}).stdout.splitlines()[0]
    assert without == "profile: laptop (no GPU found); available with --profile: none, laptop"
    with_one = cli("plan", "ncsn_space.yaml", env={**faults, "TUNE_APP_GPUS": "1"}).stdout.splitlines()[0]
    assert with_one.startswith("profile: none (1 GPU found)")


def test_the_schema_that_is_printed_is_the_one_that_ships(cli: Cli) -> None:
    import search_spaces

    shipped = Path(search_spaces.__file__).parent / "sweep.schema.json"
    assert json.loads(cli("schema").stdout) == json.loads(shipped.read_text())


@pytest.mark.ray
def test_neither_an_unwritable_home_nor_another_ray_in_the_environment_is_trouble(cli: Cli, folder: Path) -> None:
    home = folder / "home"
    home.touch()  # a file where the home folder should be: nothing can be written below it, not even by root
    done = cli(*BRANIN, "--trials", "2", env={"HOME": str(home), "RAY_ADDRESS": "127.0.0.1:1"})
    assert done.returncode == 0, done.stderr
    assert "branin: completed" in done.stdout


def test_a_cluster_that_does_not_answer_is_a_sentence(cli: Cli) -> None:
    done = cli(*BRANIN, "--trials", "2", "--address", "127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "--address 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_exit_code_of_an_interrupted_look_is_130(cli: Cli, folder: Path) -> None:
    code = """
import os, signal
from tune_app import cli
cli.cli.main = lambda **_: os.kill(os.getpid(), signal.SIGINT)
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_a_full_disk_behind_the_output_is_a_sentence(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tune_app", "plan", "branin_space.yaml", "--json"],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "the output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.ray
def test_a_reader_that_leaves_and_an_ascii_terminal_do_not_stop_a_sweep(folder: Path) -> None:
    run = f"'{sys.executable}' -m tune_app run branin_space.yaml --trials 2 --name left --wandb disabled"
    script = f"{run} | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = (folder / "experiments").glob("left-*/events.jsonl")
    assert '"state":"completed"' in log.read_text().splitlines()[-1].replace(" ", "")


def test_mistakes_as_json_have_a_place_a_key_and_a_hint(cli: Cli, folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 1\nname: a\nmodel: branin\ntrials: 3\nparameters: {x1: {type: flot}}\n")
    done = cli("validate", "bad.yaml", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["valid"] is False
    problems = {problem["key"]: problem for problem in document["problems"]}
    first = problems["trials"]
    assert (first["line"], first["key"], first["message"]) == (4, "trials", "unknown key")
    assert first["hint"] == "did you mean search.trials or recheck.trials?"
    assert first["file"].endswith("bad.yaml")
    assert problems["parameters.x1"]["line"] == 5
    absent = json.loads(cli("validate", "absent.yaml", "--json").stdout)
    assert "no such file" in absent["problems"][0]["message"]


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("metric=val_loss", "did you mean kid? trials do not compare by a loss"),
        ("trials=10", "did you mean search.trials or recheck.trials?"),
        ("lr=1", "did you mean parameters.lr or fixed.lr?"),
        ("search.trails=3", "did you mean trials?"),
    ],
)
def test_a_hint_goes_by_what_is_meant(cli: Cli, option: str, hint: str) -> None:
    assert hint in cli("validate", "ncsn_space.yaml", "--set", option).stderr

"""Completion as bash asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.tune_app.config.refused import VAE
from tune_app.cli import cli

CASES = [
    ("tune_app li", ["list"]),
    ("tune_app run nc", ["ncsn_space.yaml"]),
    ("tune_app run my", ["my.yaml"]),
    ("tune_app submit nc", ["ncsn_space.yaml"]),
    ("tune_app best ", ["latest", "night-20260101-000000"]),
    ("tune_app best --out elsewhere ", ["latest"]),
    ("tune_app run ncsn_space.yaml --profile ", ["none", "laptop"]),
    ("tune_app run my.yaml --set search.t", ["search.trials="]),
    (
        "tune_app run my.yaml --set scheduler.trust.",
        ["scheduler.trust.error=", "scheduler.trust.trials=", "scheduler.trust.tau="],
    ),
    ("tune_app run my.yaml --set parameters.beta.h", ["parameters.beta.high="]),
    ("tune_app run my.yaml --set fixed.sig", []),
    ("tune_app run my.yaml --fix lat", ["latent_dim="]),
    ("tune_app run absent.yaml --fix sigma_b", ["sigma_begin="]),
    ("tune_app run absent.yaml --profile ", []),
    ("tune_app run broken.yaml --profile ", []),
    ("tune_app train be", ["beta_vae"]),
    ("tune_app train ncsn --set num", ["num_scales="]),
]


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what bash is offered at the end of each line, from one process that imports none of the large packages."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "my.yaml").write_text(VAE)
    (folder / "broken.yaml").write_text("a: [")
    (folder / "experiments" / "night-20260101-000000").mkdir(parents=True)
    (folder / "experiments" / "night-20260101-000000" / "events.jsonl").touch()
    (folder / "experiments" / "foreign").mkdir()
    code = """
import os, sys
from tune_app.cli import main
lines, sys.argv[:] = sys.argv[1:], ["tune_app"]
for line in lines:
    os.environ |= {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TUNE_APP_COMPLETE": "bash_complete"}
    try:
        main()
    except SystemExit:
        print("END", flush=True)
assert not {"torch", "ray", "wandb", "optuna"} & set(sys.modules)
"""
    lines = [line for line, _ in CASES]
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.split("END\n")[:-1]
    return {
        line: [item.partition(",")[2] for item in answer.split()] for line, answer in zip(lines, answers, strict=True)
    }


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_the_shell_completes(offers: dict[str, list[str]], line: str, offered: list[str]) -> None:
    assert offers[line] == offered


@pytest.mark.parametrize("command", ["run", "plan", "validate", "submit", "manifest"])
def test_the_help_says_where_the_keys_are_documented(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli, [command, "--help"]).output.split())
    assert "docs/space.md" in text
    assert "python -m tune_app schema" in text

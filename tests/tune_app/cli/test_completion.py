"""Completion as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tune_app.config.refused import VAE
from tune_app.cli import cli


def completed(folder: Path, line: str) -> list[str]:
    """Return what bash is offered at the end of the line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TUNE_APP_COMPLETE": "bash_complete"}
    code = """
import sys
from tune_app.cli import main
sys.argv[0] = "tune_app"
try:
    main()
finally:
    assert not {"torch", "ray", "wandb", "optuna"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **words}, capture_output=True, text=True
    )
    assert done.stderr == ""
    return [item.partition(",")[2] for item in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
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
    ],
)
def test_the_shell_completes(folder: Path, line: str, offered: list[str]) -> None:
    (folder / "my.yaml").write_text(VAE)
    (folder / "broken.yaml").write_text("a: [")
    (folder / "experiments" / "night-20260101-000000").mkdir(parents=True)
    (folder / "experiments" / "night-20260101-000000" / "events.jsonl").touch()
    (folder / "experiments" / "foreign").mkdir()
    assert completed(folder, line) == offered


@pytest.mark.parametrize("command", ["run", "plan", "validate", "submit", "manifest"])
def test_the_help_says_where_the_keys_are_documented(command: str) -> None:
    text = " ".join(CliRunner().invoke(cli, [command, "--help"]).output.split())
    assert "docs/space.md" in text
    assert "python -m tune_app schema" in text

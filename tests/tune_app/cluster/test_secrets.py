"""Ray's processes inherit only the secrets that a trial needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tune_app.cluster.secrets import secrets, secrets_kept

HARMLESS = {
    "PATH": "/bin",
    "HOME": "/root",
    "CUDA_VISIBLE_DEVICES": "0",
    "AWS_REGION": "eu",
    "RAY_AUTH_TOKEN_PATH": "t",
}
SECRET = [
    "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN",
    "HF_TOKEN", "GITHUB_TOKEN", "DB_PASSWORD", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "api_key",
]  # fmt: skip


@pytest.mark.parametrize(
    ("storage", "needed"),
    [(None, ""), ("/mnt/shared", ""), ("s3://bucket/x", "AWS_"), ("gs://bucket", "GOOGLE_"), ("abfs://x", "AZURE_")],
)
def test_secrets_are_hidden_but_for_those_of_the_storage(storage: str | None, needed: str) -> None:
    hidden = secrets(dict.fromkeys([*HARMLESS, *SECRET], "x"), storage)
    assert hidden == [name for name in SECRET if not (needed and name.startswith(needed))]


def test_a_process_that_starts_meanwhile_does_not_inherit_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hidden")
    with secrets_kept(None):
        seen = subprocess.check_output(
            [sys.executable, "-c", "import os; print(os.environ.get('HF_TOKEN'))"], text=True
        )
    assert seen.strip() == "None"
    assert os.environ["HF_TOKEN"] == "hidden"

"""The key, the host and the mode come from where wandb itself looks for them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tune_app.config.schema import WandbConfig
from tune_app.errors import InputError
from tune_app.trackers.wandb_key import wandb_account, wandb_mode

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "MODE", "BASE_URL", "CONFIG_DIR", "DIR", "DISABLED"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    return tmp_path


def log_in(home: Path, host: str) -> None:
    (home / ".netrc").write_text(f"machine {urlsplit(host).netloc}\n  login user\n  password {KEY}\n")


def test_the_settings_of_wandb_login_are_followed(home: Path) -> None:
    default = wandb_account().host
    log_in(home, "http://localhost:8080")
    assert (wandb_account().host, wandb_account().key_in) == (default, "")
    (home / ".config/wandb").mkdir(parents=True)
    (home / ".config/wandb/settings").write_text("[default]\nbase_url = http://localhost:8080\n")
    assert (wandb_account().host, wandb_account().key_in) == ("http://localhost:8080", str(home / ".netrc"))


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "online"),
        ({"WANDB_MODE": "online"}, "online"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "dryrun"}, "offline"),
        ({"WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_DISABLED": "true"}, "disabled"),
        ({"WANDB_DISABLED": "false"}, "online"),
    ],
)
def test_a_no_in_the_environment_is_followed(
    environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environment, "WANDB_API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(WandbConfig()) == mode
    assert wandb_mode(WandbConfig(mode="online")) == "online"


def test_wandb_offline_in_the_folder_is_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (home / "wandb").mkdir()
    (home / "wandb/settings").write_text("[default]\nmode = offline\n")
    assert wandb_mode(WandbConfig()) == "offline"


def test_without_a_key_auto_is_offline_and_online_is_refused() -> None:
    assert wandb_mode(WandbConfig()) == "offline"
    with pytest.raises(InputError, match="there is no key for https://") as refused:
        wandb_mode(WandbConfig(mode="online"))
    assert refused.value.hint == "log in with `wandb login`"


def test_where_w_and_b_is_not_used_wandb_is_not_imported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    with monkeypatch.context() as without_wandb:
        without_wandb.setitem(sys.modules, "wandb", None)
        assert wandb_mode(WandbConfig()) == "offline"
    log_in(home, "https://api.wandb.ai")
    assert wandb_mode(WandbConfig()) == "online"


@pytest.mark.parametrize("netrc", [f"machine api.wandb.ai login user {KEY}\n", "machine", "\0"])
def test_a_damaged_netrc_is_no_key_and_prints_nothing(
    netrc: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (home / ".netrc").write_text(netrc)
    assert wandb_account().key_in == ""
    assert KEY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["team/proj", "a#b", "a?b", "50%", "a:b", "a\\b", "x" * 129, ""])
def test_a_project_that_wandb_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"wandb refuses|W&B refuses|at most 128|at least 1"):
        WandbConfig(project=name)


def test_other_project_names_are_accepted() -> None:
    fields: Any = {"project": "my project (2)", "entity": "a-team"}
    assert WandbConfig(**fields).project == "my project (2)"

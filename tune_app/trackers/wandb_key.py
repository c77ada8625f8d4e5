"""The place of the W&B key, and the host and mode in W&B's own settings."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune_app.config.schema import WandbConfig
from tune_app.errors import InputError

Mode = Literal["online", "offline", "disabled"]
OFF = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}
TRUE = ("1", "true", "t", "yes", "y", "on")


@dataclass(frozen=True)
class WandbAccount:
    """Server, mode and key that wandb uses in this folder and environment."""

    host: str
    """Address of the server."""
    mode: Mode
    key_in: str
    """Variable or file that holds the key, empty if there is none. The key itself is never kept."""


def wandb_account(environment: Mapping[str, str] = os.environ) -> WandbAccount:
    """Return the account that wandb's settings files, `environment` and the netrc file name.

    wandb itself reads the files, so `wandb login` and `wandb offline` are followed. This takes a second.
    """
    with redirect_stderr(io.StringIO()):  # wandb's warnings about a netrc file may quote the key
        import wandb
        from wandb.sdk.lib import wbauth

        settings = wandb.Settings(silent=True)
        folder = Path(environment.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
        settings.settings_system = str(folder / "settings")
        settings.update_from_system_settings()
        settings.update_from_env_vars(dict(environment))
        named = [name for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE") if environment.get(name)]
        if not named and _has_netrc_key(wbauth, settings.base_url):
            named = [str(Path(environment.get("NETRC", "~/.netrc")).expanduser())]
        if not named and settings.api_key:
            named = [settings.settings_system]
    off = "disabled" if environment.get("WANDB_DISABLED", "").lower() in TRUE else OFF.get(settings.mode, "online")
    return WandbAccount(settings.base_url, off, named[0] if named else "")  # type: ignore[arg-type]


def wandb_mode(config: WandbConfig) -> Mode:
    """Return how this sweep uses W&B. Raise InputError if it must be online and there is no key."""
    if config.mode in ("offline", "disabled"):
        return config.mode
    if config.mode == "auto" and not _is_used():
        return "offline"
    account = wandb_account()
    if config.mode == "auto":
        return "offline" if account.mode == "online" and not account.key_in else account.mode
    check_key(account)
    return "online"


def _is_used(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True if there is a file or a variable that wandb would read. If none does, wandb need not be imported."""
    files = ("~/.netrc", "~/_netrc", "~/.config/wandb/settings", "wandb/settings", ".wandb/settings")
    named = any(name == "NETRC" or name.startswith("WANDB_") for name in environment)
    return named or any(os.access(Path(file).expanduser(), os.R_OK) for file in files)


def check_key(account: WandbAccount) -> None:
    """Raise InputError if there is no key for the account's server."""
    if not account.key_in:
        raise InputError(
            f"W&B: there is no key for {account.host}", hint=f"log in with `{login_command(account.host)}`"
        )


def login_command(host: str) -> str:
    """Return the command that stores a key for `host`."""
    from wandb.sdk.lib.urls import DEFAULT_BASE_URL

    return "wandb login" if host == DEFAULT_BASE_URL else f"wandb login --host {host}"


def _has_netrc_key(wbauth: object, host: str) -> bool:
    try:
        return wbauth.read_netrc_auth(host=host) is not None  # type: ignore[attr-defined]
    except Exception:  # a key of a wrong form, which wandb rejects when it is used
        return True

"""Checks of single values of a space file. Each returns the value, or raises ValueError with what it must be."""

import re
from math import inf
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from trainables import plugin_code
from trainables.catalog import MODELS
from trainables.contract import PluginError

SECRET = re.compile(r"secret|key|token|password", re.IGNORECASE)


def absolute(path: str) -> str:
    """Return the absolute path, so that a resume from another folder finds it."""
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise ValueError(f"{path}: there is no such home folder") from None


def known_features(features: str) -> str:
    """Check the name of a feature set."""
    if features not in ("auto", "randconv", "cnn") and not features.partition("inception:")[2]:
        raise ValueError(f"must be one of auto, randconv, cnn or inception:FILE, not {features!r}")
    return features


def share(gpu: object) -> object:
    """Check a share of a GPU."""
    if gpu == "auto" or (isinstance(gpu, int | float) and not isinstance(gpu, bool) and 0 <= gpu < inf):
        return gpu
    raise ValueError(f"must be a number, 0 or more, or auto, not {gpu!r}")


def address(storage: str) -> str:
    """Check a storage address. It must not contain credentials."""
    parts = urlsplit(storage)
    if not parts.scheme or "://" not in storage:
        raise ValueError(f"must be an address like s3://BUCKET/FOLDER, not {storage!r}; use --out for a folder")
    if parts.password or any(SECRET.search(name) for name in parse_qs(parts.query)):
        raise ValueError("must not contain a key; each node takes credentials from its own environment")
    return storage


def wandb_name(name: str) -> str:
    """Check the name of a W&B project or entity."""
    if wrong := sorted(set(name) & set("/\\#?%:")):
        hint = "; a team belongs in wandb.entity" if "/" in wrong else ""
        raise ValueError(f"must not contain {' '.join(wrong)}, which W&B refuses{hint}")
    return name


def number(value: object) -> object:
    """Check that a value is not `true`, which equals 1."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {str(value).lower()}")
    return value


def known_model(name: str) -> str:
    """Check the name of a model."""
    if name not in MODELS and not _add_installed(name):
        known = ", ".join(dict.fromkeys([*MODELS, *plugin_code.installed()]))
        raise ValueError(f"must be one of {known}, not {name!r}; --models FILE adds the models of a file")
    return name


def _add_installed(name: str) -> bool:
    try:
        return plugin_code.add_installed(name)
    except PluginError as error:
        raise ValueError(str(error)) from None

"""The user's code behind an experiment's model: logged with its hash, and checked before it runs again."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainables import plugin_code
from trainables.catalog import MODELS
from trainables.contract import Plugin, PluginError
from trainables.model_description import describe, described
from tune_app.errors import InputError
from tune_app.experiment.event_fields import LoggedPlugin
from tune_app.experiment.log import read
from tune_app.experiment.records import Records

COPIES = "models"
"""Folder of an experiment with copies of the files that define its models. They are never run unasked."""


def logged_plugins(model: str) -> list[LoggedPlugin]:
    """Return the log's entries for the code that a model and its metrics come from."""
    entries = []
    for plugin in MODELS.plugins_of(model):
        contents = MODELS.contents(plugin)
        assert contents
        facts = {name: value for name, value in asdict(plugin).items() if name != "source"}
        entries.append(LoggedPlugin(**facts, description=describe(contents)))
    return entries


def add_described(events: Path) -> None:
    """Add the models that an experiment's log describes to the catalog, without running any code."""
    newest: Sequence[Mapping[str, Any]] = ()
    with suppress(OSError, ValueError, UnicodeDecodeError), events.open(encoding="utf-8") as log:
        for line in log:
            if '"plugins"' in line and (found := json.loads(line).get("plugins")):
                newest = found
    for one in newest:
        with suppress(PluginError, ValueError):  # the check of the configuration says that the model is unknown
            logged = LoggedPlugin.model_validate(one)
            MODELS.add(described(_plugin(logged), logged.description))


def load_code(folder: Path, *, accept_change: bool = False) -> dict[str, list[Any]]:
    """Load the code of an experiment's model, and return the hashes before and after of code that has changed.

    Code that the person has named is used. Other code is looked for where it was. Raise InputError if it is missing, or
    if it has changed and `accept_change` does not allow that.
    """
    records, changes = Records(read(folder / "events.jsonl")), {}
    for logged in records.plugins:
        now = _current(logged, folder)
        if now.sha256 != logged.sha256:
            if not accept_change:
                raise InputError(
                    f"{logged.name} has changed since the experiment started: its SHA-256 was {logged.sha256[:16]}, "
                    f"now it is {now.sha256[:16]}",
                    hint=f"{_copy_hint(logged, folder)}, or resume with --accept-code-change",
                )
            changes[f"code of {logged.name}"] = [logged.sha256, now.sha256]
        known = MODELS.contents(now)
        if known is None or known.described:
            _run(now)
    return changes


def copies(model: str) -> dict[str, str]:
    """Return the name and the text of each file that a model and its metrics come from."""
    return {plugin.name: plugin.source for plugin in MODELS.plugins_of(model) if plugin.source}


def _current(logged: LoggedPlugin, folder: Path) -> Plugin:
    """Return the code that this process uses under the logged name, or that lies where it was. Nothing is run."""
    code, hint = MODELS.code(), _copy_hint(logged, folder)
    same = [one for one in code if one.plugin.sha256 == logged.sha256] or [
        one for one in code if one.plugin.name == logged.name or one.models.keys() & _models(logged)
    ]
    if same:
        return same[0].plugin
    try:
        if logged.entry_point:
            points = [one for one in plugin_code.installed().values() if one.value == logged.entry_point]
            if not points:
                raise InputError(f"{logged.name} {logged.version} is not installed", hint="install it, then try again")
            return plugin_code.of_package(points[0])
        path = Path(logged.path)
        if not path.is_absolute() or path.is_relative_to(folder.absolute()):  # the folder may come from somebody else
            raise InputError(f"{logged.name} is not run unasked, because it lies in the experiment", hint=hint)
        if path.is_file():
            return plugin_code.read_file(path)
    except PluginError as error:
        raise InputError(str(error)) from None
    raise InputError(f"{logged.path} no longer exists", hint=hint)


def _run(plugin: Plugin) -> None:
    try:
        plugin_code.add(plugin)
    except PluginError as error:
        raise InputError(str(error)) from None


def _copy_hint(logged: LoggedPlugin, folder: Path) -> str:
    copy = folder / COPIES / logged.name
    return f"use the experiment's own copy with --models {copy}" if copy.is_file() else "give the file with --models"


def _models(logged: LoggedPlugin) -> set[str]:
    models = logged.description.get("models")
    return set(models) if isinstance(models, dict) else set()


def _plugin(logged: LoggedPlugin) -> Plugin:
    return Plugin(logged.name, logged.sha256, "", logged.path, logged.entry_point, logged.version)

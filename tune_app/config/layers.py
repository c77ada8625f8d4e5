"""A configuration in the making: data merged from several hands, and whose hand wrote each piece of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tune_app.config.strict_yaml import Document, Key

REMOVABLE: tuple[Key, ...] = (("parameters",), ("fixed",))
"""Blocks in which null takes an entry away."""


@dataclass(frozen=True)
class Origin:
    """Who wrote a piece of data: a later layer overrules an earlier one."""

    layer: int
    where: str
    prefix: Key = ()
    """What stands before the piece's name where it was written: profiles.laptop."""


class Draft:
    """The data of a document without its profiles, to be overlaid."""

    def __init__(self, document: Document) -> None:
        self.data = deepcopy({key: value for key, value in document.data.items() if key != "profiles"})
        self._origins = {key: Origin(0, document.where(key)) for key in document.marks if key[:1] != ("profiles",)}
        self._layer = 0

    def overlay(self, data: dict[str, Any], *, where: Callable[[Key], str], profile: str | None = None) -> None:
        """Merge key by key; lists are replaced, null removes a parameter, a parameter of another type is replaced."""
        self._layer += 1
        prefix: Key = ("profiles", profile) if profile else ()
        self._merge(self.data, data, (), lambda key: Origin(self._layer, where(key), prefix))

    def origin(self, key: Key) -> tuple[str, Key]:
        """Where a place was written, and its name there: by the last hand on it or on anything inside it."""
        around = key
        while around not in self._origins:  # the root is always there
            around = around[:-1]
        found = [self._origins[around]]
        if around == key:
            found += [origin for place, origin in self._origins.items() if place[: len(key)] == key]
        last = max(found, key=lambda origin: origin.layer)  # of one layer the first: the place itself
        return last.where, (*last.prefix, *key)

    def _merge(self, base: dict[str, Any], data: dict[str, Any], path: Key, origin: Callable[[Key], Origin]) -> None:
        for name, value in data.items():
            key = (*path, name)
            old = base.get(name)
            if value is None and path in REMOVABLE and name in base:
                del base[name]
                self._forget(key)
            elif isinstance(value, dict) and isinstance(old, dict) and not _other_type(key, old, value):
                self._merge(old, value, key, origin)
            else:
                base[name] = deepcopy(value)
                self._forget(key)
                self._record(key, value, origin)

    def _forget(self, key: Key) -> None:
        self._origins = {place: o for place, o in self._origins.items() if place[: len(key)] != key}

    def _record(self, key: Key, value: Any, origin: Callable[[Key], Origin]) -> None:
        self._origins[key] = origin(key)
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, child in children:
            self._record((*key, name), child, origin)


def nested(key: Sequence[str], value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of a.b."""
    for name in reversed(key):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _other_type(key: Key, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether an overlay describes a parameter afresh, rather than correct a part of it."""
    afresh = len(key) == 2 and key[0] == "parameters" and len(new) > 1
    return afresh and new.get("type", old.get("type")) != old.get("type")

"""Merge the layers of a configuration (file, profile, options) and remember which layer set each value."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

from pydantic import JsonValue

from tune_app.config.strict_yaml import Document, Key

Data = dict[str, JsonValue]
REMOVABLE: tuple[Key, ...] = (("parameters",), ("fixed",))
"""Blocks in which null removes an entry."""


@dataclass(frozen=True)
class Origin:
    """The layer that wrote a value. Later layers overrule earlier ones."""

    layer: int
    where: str
    prefix: Key = ()
    """Key that precedes the value's own key where it was written, such as profiles.laptop."""


class Layers:
    """The data of a document without its profiles, with more layers on top."""

    def __init__(self, document: Document) -> None:
        self.data: Data = deepcopy({key: value for key, value in document.data.items() if key != "profiles"})
        self._origins = {key: Origin(0, document.where(key)) for key in document.marks if key[:1] != ("profiles",)}
        self._layer = 0

    def overlay(self, data: Data, *, where: Callable[[Key], str], profile: str | None = None) -> None:
        """Merge a layer key by key. Lists are replaced, null removes a parameter, and so does another type."""
        self._layer += 1
        prefix: Key = ("profiles", profile) if profile else ()
        self._merge(self.data, data, (), lambda key: Origin(self._layer, where(key), prefix))

    def origin(self, key: Key) -> tuple[str, Key]:
        """Return where a value was written and its key there: by the last layer that set it or a part of it."""
        around = key
        while around not in self._origins:  # the root is always there
            around = around[:-1]
        origins = [self._origins[around]]
        if around == key:
            origins += [origin for place, origin in self._origins.items() if place[: len(key)] == key]
        last = max(origins, key=lambda origin: origin.layer)  # the first one of a layer is the value itself
        return last.where, (*last.prefix, *key)

    def _merge(self, base: Data, data: Data, path: Key, origin: Callable[[Key], Origin]) -> None:
        for name, value in data.items():
            key = (*path, name)
            old = base.get(name)
            if value is None and path in REMOVABLE and name in base:
                del base[name]
                self._forget(key)
            elif isinstance(value, dict) and isinstance(old, dict) and not _redefines(key, old, value):
                self._merge(old, value, key, origin)
            else:
                base[name] = deepcopy(value)
                self._forget(key)
                self._record(key, value, origin)

    def _forget(self, key: Key) -> None:
        self._origins = {place: o for place, o in self._origins.items() if place[: len(key)] != key}

    def _record(self, key: Key, value: JsonValue, origin: Callable[[Key], Origin]) -> None:
        self._origins[key] = origin(key)
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, child in children:
            self._record((*key, name), child, origin)


def nested(key: Sequence[str], value: JsonValue) -> Data:
    """Return {"a": {"b": value}} for the key a.b."""
    for name in reversed(key):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _redefines(key: Key, old: Data, new: Data) -> bool:
    """Return True if a layer defines a parameter anew instead of changing a part of it."""
    whole = len(key) == 2 and key[0] == "parameters" and len(new) > 1
    return whole and new.get("type", old.get("type")) != old.get("type")

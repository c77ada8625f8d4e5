"""Strict YAML: plain data, and the line and column of each value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

from tune_app.errors import ConfigError, InputError, Problem

Key = tuple[str | int, ...]
"""Key in nested data: ("parameters", "lr", "low"), ("baselines", 0, "lr")."""
MOST_BYTES = 1_000_000
MOST_DEPTH = 12
_TAG = "tag:yaml.org,2002:"
# as in YAML 1.2, `on` and `yes` are strings and 1e-5 is a number
RESOLVERS = {
    _TAG + "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    _TAG + "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    _TAG + "int": (re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    _TAG + "float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
}


@dataclass(frozen=True)
class Document:
    """The data of a file, and the line and column (from 1) of each key and list element."""

    file: str
    data: dict[str, JsonValue]
    marks: Mapping[Key, tuple[int, int]]

    def where(self, key: Key) -> str:
        """Return `file:line:column` of a key, or of the nearest one around it."""
        while key not in self.marks:
            key = key[:-1]
        line, column = self.marks[key]
        return f"{self.file}:{line}:{column}"


def read(path: Path) -> Document:
    """Read a file. Raise ConfigError with the place of anything that is not plain YAML 1.2 with string keys."""
    file = _shown(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(Problem(f"{file}:1:1", f"is larger than {MOST_BYTES} bytes, too large for a space file"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _position(raw[: error.start].decode("utf-8"))
        raise ConfigError(Problem(f"{file}:{where}", "is not UTF-8 text")) from None
    return parse(text, file=file)


def parse(text: str, *, file: str) -> Document:
    """Return the document in a string."""
    reader = _Reader(file)
    data = reader.value(_compose(text, file), ())
    if not isinstance(data, dict):
        raise ConfigError(Problem(f"{file}:1:1", f"must hold `key: value` lines, not {data!r:.40}"))
    return Document(file, data, reader.marks)


def parse_value(text: str, *, where: str) -> JsonValue:
    """Return the value after `=` in --set."""
    try:
        return _Reader(where).value(_compose(text or "''", where), ())
    except ConfigError as error:
        raise ConfigError(*(Problem(where, problem.message, problem.hint) for problem in error.problems)) from None


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path)


def _position(before: str) -> str:
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _refuse(file: str, mark: yaml.Mark | None, message: str, hint: str | None = None) -> ConfigError:
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return ConfigError(Problem(f"{file}:{line}:{column}", message, hint))


def _compose(text: str, file: str) -> yaml.Node:
    try:
        loader = _Loader(text)
        loader.file = file
        if not loader.check_node():
            raise ConfigError(Problem(f"{file}:1:1", "is empty"))
        node = loader.get_node()
        if loader.check_node():
            mark = loader.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _refuse(file, mark, "a second document starts here; a file must hold one")
    except yaml.reader.ReaderError as error:
        where = _position(text[: error.position])
        raise ConfigError(Problem(f"{file}:{where}", f"character {error.character!r} is not allowed in YAML")) from None
    except yaml.MarkedYAMLError as error:
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise _refuse(file, error.problem_mark or error.context_mark, f"is not YAML: {problem}") from None
    assert node is not None
    return node


class _Loader(yaml.SafeLoader):
    """Loader that composes nodes, and refuses tags, anchors and deep nesting before it follows them."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's name and type)
    file = ""
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refuse(
                self.file, event.start_mark, "anchors (&) and aliases (*) are not supported; write the value out"
            )
        if getattr(event, "tag", None) is not None:
            raise _refuse(self.file, event.start_mark, f"tags ({event.tag}) are not supported; write plain YAML")
        if self.depth >= MOST_DEPTH:
            raise _refuse(self.file, event.start_mark, f"is nested more than {MOST_DEPTH} levels deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, (_pattern, _first) in RESOLVERS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, _first)


class _Reader:
    """Turns nodes into data and collects the place of each."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks: dict[Key, tuple[int, int]] = {(): (1, 1)}

    def value(self, node: yaml.Node, key: Key) -> JsonValue:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            for i, element in enumerate(node.value):
                self._mark((*key, i), element)
            return [self.value(element, (*key, i)) for i, element in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, JsonValue]:
        data: dict[str, JsonValue] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag != _TAG + "str":
                raise _refuse(self.file, name.start_mark, "a key must be a string", "put it in quotes")
            if name.value == "<<":
                raise _refuse(self.file, name.start_mark, "merge keys (<<) are not supported; write the values out")
            if name.value in data:
                line = self.marks[(*key, name.value)][0]
                raise _refuse(self.file, name.start_mark, f"the key {name.value} appears twice, first on line {line}")
            self._mark((*key, name.value), name)
            data[name.value] = self.value(value, (*key, name.value))
        return data

    def _mark(self, key: Key, node: yaml.Node) -> None:
        self.marks[key] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def _scalar(self, node: yaml.Node) -> JsonValue:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind in ("int", "float"):
            return self._number(node, text, kind)
        return {"null": None, "bool": text.lower() == "true"}.get(kind, text)

    def _number(self, node: yaml.Node, text: str, kind: str) -> int | float:
        if kind == "int" and len(text) <= 18:  # fits into 64 bits
            return int(text)
        number = float("nan") if text[-1] in "fFnN" else float(text)  # .inf, .nan
        if kind == "int" or not isfinite(number):
            raise _refuse(self.file, node.start_mark, f"{text[:40]} is not a finite number of 64 bits")
        return number

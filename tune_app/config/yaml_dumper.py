"""YAML that is written: every string reads back as a string, and nothing is written by reference."""

from collections.abc import Iterable

import yaml

from tune_app.config.strict_yaml import RESOLVERS

WIDTH = 120


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes a string that YAML 1.1 or YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


class _BlockDumper(_Dumper):
    """Dumper that writes strings of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


for _tag, (_pattern, _first) in RESOLVERS.items():
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
_BlockDumper.add_representer(str, _block)


def dump_yaml(document: object) -> str:
    """Return one document with short lists and mappings on one line."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=None
    )


def dump_all_yaml(documents: Iterable[object]) -> str:
    """Return several documents, with strings of several lines as blocks."""
    return yaml.dump_all(documents, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=WIDTH)

"""Every invalid file is refused with file:line:column and a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tune_app.config.refused import FILES, GOOD
from tune_app.config import load
from tune_app.errors import ConfigError, InputError


@pytest.mark.parametrize(("text", "line", "words"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_a_bad_file_is_refused_where_it_is_bad(tmp_path: Path, text: str, line: int, words: str) -> None:
    file = tmp_path / "bad space.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file)
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(file))}:{line}:\d+: ", message), message
    assert words in message
    assert "Traceback" not in message
    assert "pydantic" not in message
    assert caught.value.exit_code == 2


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD + "search: {trials: 0}\nbudget: {hours: -1}\nfoo: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert [problem.where.removeprefix(f"{file}:") for problem in caught.value.problems] == ["6:10", "7:10", "8:1"]


@pytest.mark.parametrize(
    ("raw", "where", "words"),
    [
        (GOOD.encode() + b"fixed: {clip: \xff}\n", "6:15", "UTF-8"),
        (GOOD.encode("utf-16"), "1:1", "UTF-8"),
        (b"#" * 1_000_001, "1:1", "larger"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes, where: str, words: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=f":{where}: .*{words}"):
        load(file)


def test_an_alias_bomb_does_not_go_off(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30)))
    with pytest.raises(ConfigError, match="1:4: anchors"):
        load(file)


def test_a_missing_file_names_those_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load("ncns_space.yaml")
    assert caught.value.hint == "did you mean ncsn_space.yaml?"
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)

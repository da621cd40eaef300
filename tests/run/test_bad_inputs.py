"""What people type wrongly: one clear line, that names the option or the file, exit code 2, and no run begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad_inputs import ENVIRONMENT, EVALUATE, SEARCH, TINY, TRAIN, make_places

from sgl_fast import evaluate, search


@pytest.fixture(autouse=True)
def places(nothing_installed: None, tmp_path: Path) -> None:
    make_places(tmp_path)


def said(main: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    line = capsys.readouterr().err
    assert code == 2 and line.count("\n") == 1, line
    assert not list(Path("runs").glob("*/config.json"))
    return line


@pytest.mark.parametrize("words", SEARCH)
def test_of_a_search(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(search.main, f"--data embedded {TINY} {words}".split(), capsys)
    assert line.startswith("python -m sgl_fast.search: ") and SEARCH[words] in line


@pytest.mark.parametrize("words", EVALUATE)
def test_of_an_evaluation(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(evaluate.main, f"{TRAIN} {words}".split(), capsys)
    assert line.startswith("python -m sgl_fast.evaluate: ") and EVALUATE[words] in line


@pytest.mark.parametrize("setting", ENVIRONMENT)
def test_of_the_environment(
    setting: str, extension: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(*setting.split("="))
    assert ENVIRONMENT[setting] in said(search.main, TINY.split(), capsys)


def test_there_are_enough() -> None:
    assert len(SEARCH) + len(EVALUATE) + len(ENVIRONMENT) >= 90

"""The commands that README and docs/ show: each is taken up to its settings, every target and file is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from sgl_fast import compare, doctor, evaluate, export, genotypes, precompile, reproduce, search
from sgl_fast.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"clang-format": ".clang-format", "pre-commit": ".pre-commit-config.yaml"}  # and the file that says how
OWN = {"sparse": "darts"}  # a space that a page writes, and one that is here
Check = Callable[[list[str]], None]
PARSERS = {"compare": compare.parser, "doctor": doctor.parser, "export": export.parser}
MAINS = {"search": search.main, "evaluate": evaluate.main, "precompile": precompile.main}


def blocks(page: Path) -> list[str]:
    """Indented lines outside fences, without the remark behind them, and a module's command within a sentence."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    lines = [line.partition("  #")[0].strip() for line in text.splitlines() if re.match(r"    \S", line)]
    return lines + re.findall(r"`(python -m sgl_fast\.[^`]+)`", text.replace("\n", " "))


def of_python(words: list[str]) -> None:
    """python, or torchrun: -m MODULE ARGUMENTS, or a script."""
    if "-m" not in words:
        assert (ROOT / words[1]).exists(), words
        return
    module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
    if module == "pytest":
        assert all((ROOT / word).exists() for word in arguments if not word.startswith("-"))
        return
    name = module.removeprefix("sgl_fast.")
    assert name in COMMANDS, module
    if name in PARSERS:
        PARSERS[name]().parse_args(arguments)
    elif name == "reproduce":
        assert reproduce.main([*arguments, "--list"]) == 0, arguments
    elif arguments:  # else the command's name
        assert MAINS[name]([*arguments, "--print-config"]) == 0, arguments


def of_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{word}:", makefile, re.M) for word in words[1:] if "=" not in word), words


def of_pip(words: list[str]) -> None:
    extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
    known = re.search(
        r"^\[project.optional-dependencies\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.S | re.M
    )
    assert words[1] == "install" and known is not None
    assert all(re.search(rf"^{extra} = ", known[1], re.M) for each in extras for extra in each.split(",")), words


CHECKS: dict[str, Check] = {"python": of_python, "torchrun": of_python, "make": of_make, "pip": of_pip}


def check_of(words: list[str]) -> Check | None:
    program = Path(words[0]).name
    if program in PROGRAMS:
        assert (ROOT / PROGRAMS[program]).exists()
        return lambda words: None
    return CHECKS.get(program)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_taken(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with what a reader has: a run, a log, CIFAR-10, ImageNet. README and CONTRIBUTING show nothing but
    commands.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SGL_FAST_DATA", raising=False)
    for folder in ("RUN", "data/train", "data/val"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "RUN" / "best.json").write_text(genotypes.DARTS_V2.to_json())
    (tmp_path / "data" / "cifar-10-binary.tar.gz").touch()
    (tmp_path / "log.txt").write_text(str(genotypes.DARTS_V2))
    for line in blocks(page):
        words = [OWN.get(word, word) for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
        check = check_of(words)
        assert check or page.name not in ("README.md", "CONTRIBUTING.md"), f"no command that a test knows: {line}"
        if check:
            check(words)


@pytest.mark.parametrize(
    "line",
    ["python -m sgl_fast.search --spice pc_darts", "make tset", 'pip install -e ".[tets]"', "python docs/drew.py",
     "torchrun --nproc-per-node 2 -m sgl_fast.serach", "python -m sgl_fast.doctor --jason",
     "python -m sgl_fast.export RUN --onnx", "python -m sgl_fast.compare RUN RUN --htm page"],
)  # fmt: skip
def test_a_misspelt_command_is_found(line: str) -> None:
    words = shlex.split(line)
    check = check_of(words)
    assert check is not None
    with pytest.raises((AssertionError, SystemExit)):
        check(words)


def test_fenced_blocks_are_python() -> None:
    """Which test_docs.py runs."""
    for page in PAGES:
        languages = re.findall(r"^```(\w+)$", page.read_text(), re.M)
        assert set(languages) <= {"python"}, f"{page.name}: no test runs a block of {languages}"

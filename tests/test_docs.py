"""The documents: their Python runs, their pictures are what the script draws, their table is what a step does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from foreign_darts import Network as Foreign

from sgl_fast import evaluate, genotypes, search

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
NUMBER = re.compile(r"(?<![\w#])-?\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)")
COMMANDS = {"search": search.main, "evaluate": evaluate.main}
LOG = f"12:00 genotype = {genotypes.PDARTS}\n12:01 genotype = {genotypes.DARTS_V2}\n12:01 valid_acc 97.1\n"
# Points that a mark may be away from the committed one: versions of Matplotlib measure words less than half a point
# apart, and rounding of float32 moves marks of a measured curve.
NEAR = 0.5
TOLERANCE = {"frozen_error": 15.0}


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.S | re.M)


def own_models() -> dict[str, Any]:
    """Eager supernets and images."""
    models = {name: Foreign(num_classes=10) for name in ("model", "m1", "m2")}
    return {**models, "images": torch.randn(2, 3, 8, 8)}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs" / "draw.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [p for p in [*DOCS, ROOT / "README.md"] if blocks_of(p)], ids=lambda p: p.stem)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page in one namespace, in order. A reader's own is given: in docs/ a batch and files, in README
    models.
    """
    monkeypatch.chdir(tmp_path)
    images, labels = torch.randn(3, 2, 3, 8, 8), torch.randint(10, (2, 2))
    given: dict[str, Any] = dict(zip(("x_train", "x_unlabeled", "x_val"), images, strict=True))
    given = given | {"y_train": labels[0], "y_val": labels[1]} if page in DOCS else own_models()
    for name in ("learner0.pt", "learner1.pt"):
        torch.save(Foreign(num_classes=10).state_dict(), name)
    Path("log.txt").write_text(LOG)
    for block in blocks_of(page):
        exec(compile(block, str(page), "exec"), given)


def test_commands_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of the page for those who come from elsewhere, up to its settings."""
    monkeypatch.chdir(tmp_path)
    Path("log.txt").write_text(LOG)
    page = (ROOT / "docs" / "coming_from_elsewhere.md").read_text()
    commands = re.findall(r"`python -m sgl_fast\.(search|evaluate) ([^`]*)`", page)
    assert len(commands) == page.count("`python -m ") > 5
    for name, arguments in commands:
        end = ["--print-config"] if name == "search" else ["--count", "--channels", "4", "--layers", "3"]
        assert COMMANDS[name]([*arguments.split(), *end]) == 0, arguments
        printed = capsys.readouterr().out
        for option, value in re.findall(r"--(space|data|settings|algorithm|learners) (\S+)", arguments):
            assert name == "evaluate" or re.search(rf'^{option} = "?{value}"?$', printed, re.M), (option, arguments)


def test_pictures_are_drawn_so(script: ModuleType, tmp_path: Path) -> None:
    script.draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs").glob("*.svg")}
    for name in sorted(drawn):
        new, kept = ((folder / name).read_text() for folder in (tmp_path, ROOT / "docs"))
        assert NUMBER.sub("0", new) == NUMBER.sub("0", kept), name
        pairs = zip(NUMBER.findall(new), NUMBER.findall(kept), strict=True)
        away = max(abs(float(a) - float(b)) for a, b in pairs)
        assert away < TOLERANCE.get(Path(name).stem, NEAR), (name, away)


def test_the_table_of_passes_is_what_a_step_does(script: ModuleType) -> None:
    """Rows of the table of design.md against a recorded step: weights, images and how many passes of a learner."""
    passes, weights, images = script.recorded_step()
    table = re.findall(
        r"^\| (\d) \| ([^|]+) \| (\w+) \| (\d) \| (\d) \|", (ROOT / "docs" / "design.md").read_text(), re.M
    )
    forwards = [call for call in zip(weights, images, passes.calls, strict=True) if call[2][2] != "dV', dA"]
    assert len(table) == len(forwards)
    for (_, names, seen, forward, _), (rows, of, _) in zip(table, forwards, strict=True):
        said = re.sub(r" ([+-]) eps [gu]", r"\1", names).split(", ")
        assert [f"{name}{k}" for name in said for k in range(1, script.K + 1)] == rows
        assert (seen, int(forward) * script.K) == (of, len(rows))
    counted = [sum(int(row[column]) for row in table) * script.K for column in (3, 4)]
    assert counted == [passes.forwards, passes.backwards] == [11 * script.K] * 2


@pytest.mark.parametrize("page", [*DOCS, *ROOT.glob("*.md")], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http|#)([^)#\s]+)", page.read_text().replace("\n", " "))
    assert not [link for link in links if not (page.parent / link).exists()]

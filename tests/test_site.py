"""The documents as a site, built strictly: every link of every page leads somewhere; and the notebook, which runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "first_search.ipynb"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "mkdocs.yml", "docs", "bench/results", "csrc", "kernels")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is made of, to be spoilt."""
    root = tmp_path_factory.mktemp("sources")
    for name in (*PAGES, "bench/cuda_model.py", "bench/gpus.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, root / name)
    return root


def built(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def test_the_site_is_built_of_the_files(sources: Path, tmp_path: Path) -> None:
    done = built(sources, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Small-Group Learning" in (tmp_path / "index.html").read_text()
    first = (tmp_path / "docs" / "first_search" / "index.html").read_text()
    assert "run_search" in first and first.count("data:image/png;base64") == 2 and "test accuracy" in first
    shown = {path.relative_to(tmp_path).parent.as_posix() for path in tmp_path.rglob("index.html")}
    assert {f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md")} <= shown
    assert (tmp_path / "docs" / "cell_stages.svg").exists() and (tmp_path / "bench" / "results" / "cells.png").exists()


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("[x](docs/nowhere.md)", "nowhere.md"),
        ("[x](docs/design.md#nowhere)", "#nowhere"),
        ("[x](nowhere.py)", "nowhere.py"),
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(link: str, says: str, sources: Path, tmp_path: Path) -> None:
    readme = sources / "README.md"
    text = readme.read_text()
    try:
        readme.write_text(f"{text}\n{link}\n")
        done = built(sources, tmp_path)
    finally:
        readme.write_text(text)
    assert done.returncode != 0 and says in done.stderr


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of its own; it prints as many things as the committed one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, 4)
    kept = [kinds(cell) for cell in notebook.cells]
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    assert [kinds(cell) for cell in notebook.cells] == kept
    assert (tmp_path / "runs" / "first" / "report.html").exists()
    assert (tmp_path / "runs" / "first-trained" / "result.json").exists()


def kinds(cell: Any) -> set[str]:
    """What a cell shows: text that it prints, pictures, values."""
    outputs = cell.get("outputs", [])
    return {output.get("name") or kind for output in outputs for kind in (output.get("data") or {"": None})} - {
        "stderr"
    }


def test_the_notebook_is_small_and_of_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 400_000
    json.loads(text)
    assert not re.search(r"/(home|root|work|tmp|usr)/", text)

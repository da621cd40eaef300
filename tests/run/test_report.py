"""report.html: one file without references, read by a parser and, where there is one, by a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.run import search_report
from sgl_fast.run.cell_svg import cell_svg
from sgl_fast.run.plots import FORMATS, curves_figure, save
from sgl_fast.run.report import REPORT, Page, cost_of, flat, inlined, write_page
from sgl_fast.run.run_folder import RunFolder
from sgl_fast.run.speed import MEASURED

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "link", "input", "progress", "br"}
GENOTYPES = [[random_genotype(2, seed) for seed in pair] for pair in ((0, 1), (0, 1), (2, 1))]  # of three epochs
NAME = 'embedded <script>alert("no")</script>'


class Reader(HTMLParser):
    """Tags that are open at the end, ids, what refers to other files, text by tag, frames that are shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.text: dict[str, str] = {}
        self.shown: list[tuple[str, str]] = []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.ids += [values["id"]] if "id" in values else []
        links = [values[name] for name in ("src", "href", "xlink:href", "action") if name in values]
        self.outside += [link for link in links if not link.startswith(("#", "data:"))]
        if values.get("class") == "frame" and "hidden" not in values:
            self.shown.append((values["data-first"], values["data-last"]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data


def record(epoch: int) -> dict[str, Any]:
    return {
        "step": 2 * epoch,
        "epoch": epoch,
        "train_loss": [1.5, 2.5],
        "validation_loss": [1.25, 0.75],
        "validation_accuracy": [0.25, 0.5],
        "best_learner": 1,
        "skips": [{"normal": 1, "reduce": 0}] * 2,
        "genotypes": [json.loads(g.to_json()) for g in GENOTYPES[epoch - 1]],
        "parameters": [1_234_567, 7_654_321],
        "multiply_adds": [10**8, 2 * 10**8],
        "hypergradient_norm": [0.5, 0.0123],
        "implicit_share": [0.0, 0.375],
        MEASURED: {"seconds": 3600.0, "cpu_seconds": 5400.0, "ms_per_step": 20.0, "peak_memory": 10**9},
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a search in its third of four epochs."""
    folder = tmp_path_factory.mktemp("run") / "it's"
    config = {
        "space": "darts",
        "scale": "paper",
        "data": "embedded",
        "config": {"lam": 0.125},
        "run": {"backend": "cpu (avx2)"},
    }
    stages: Any = SimpleNamespace(step=6, steps=8, count=1, settings=config, dataset=SimpleNamespace(name=NAME))
    stages.config = SimpleNamespace(learners=2, total_epochs=4)
    records = [record(epoch) for epoch in (1, 2, 3)]
    with RunFolder.create(folder) as run:
        run.begin(config)
        for name in ("curves", "alphas"):
            save(curves_figure(records), folder / name, ["svg"])
        write_page(folder / REPORT, search_report.search_page(run, stages, records, "running"))
    return folder / REPORT


def test_the_page_is_whole_and_refers_to_nothing(page: Path) -> None:
    text = page.read_text()
    found = Reader(text)
    assert not found.open and not found.outside and len(found.ids) == len(set(found.ids))
    assert not re.findall(r"https?://(?!www\.w3\.org/)|@import|url\((?!#)", text)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert used and set(used) <= set(found.ids), "markers and clips of the pictures"
    assert found.scripts == 1 and found.text["title"] == f"darts search of 2 learners on {NAME}"
    assert '<meta http-equiv="refresh" content="30">' in text and "prefers-color-scheme: dark" in text


def test_it_says_what_a_reader_asks_for(page: Path) -> None:
    found = Reader(page.read_text())
    for tag, words in {
        "td": ("1 (best)", "50.00 %", "1.23e-02", "37.5%", "1,234,567", "200,000,000", "lam", "0.125", "cpu (avx2)"),
        "dd": ("50.00%", "6 of 8", "1:00:00", "1.500", "1.00 GB"),
        "pre": (f"--resume '{str(page.parent)[:-4]}", "--scale paper --count", "Genotype(normal="),
        "figcaption": ("learner 0: 1.23 M parameters, 100 M multiply-adds",),
        "text": ("validation", "loss", "normal cell", "cₖ₋₂"),
    }.items():
        for word in words:
            assert word in found.text[tag], (tag, word)


def test_the_slider_shows_the_cells_of_its_epoch(page: Path, tmp_path: Path) -> None:
    """Equal epochs share a frame; the last is shown. A browser moves it to the first."""
    text = page.read_text()
    assert Reader(text).shown == [("3", "3")] and text.count('class="frame"') == 2
    for pair in GENOTYPES[1:]:
        assert all(cell_svg(g, "").partition(">")[2] in text for g in pair)
    if BROWSER:
        moved = '<script>slider.value = 1; slider.dispatchEvent(new Event("input"))</script></body>'
        (tmp_path / "moved.html").write_text(text.replace("</body>", moved))
        command = [BROWSER, "--no-sandbox", "--disable-gpu", "--dump-dom", (tmp_path / "moved.html").as_uri()]
        dom = Reader(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
        assert dom.shown == [("1", "2")] and dom.text["output"] == "1"


def test_pictures_keep_their_ids_apart(tmp_path: Path) -> None:
    save(curves_figure([record(1)]), tmp_path / "a", FORMATS[1:2])
    one, two = (inlined(tmp_path / "a.svg", name) for name in "xy")
    assert one.startswith("<svg") and one.replace("x-", "y-") == two != one and "<style" not in one


def test_an_empty_page_and_small_things(tmp_path: Path) -> None:
    write_page(tmp_path / REPORT, Page("a & b", "done"))
    found = Reader((tmp_path / REPORT).read_text())
    assert not found.open and found.scripts == 0 and found.text["h1"] == "a & b"
    measured = {"seconds": 86400.0, "cpu_seconds": 7200.0}
    assert cost_of(measured, "cuda on Tesla V100", 2) == ("GPU-days", "2.0000")
    assert cost_of(measured, "torch on 2 CPU threads") == ("CPU-hours", "2.000")
    assert flat({"a": 1, "config": {"b": None}}) == [("a", "1"), ("b", "None")]

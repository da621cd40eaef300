from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from sgl_fast.genotype.published import genotypes
from sgl_fast.run import plots
from sgl_fast.run.plots import alphas, cells, curves
from sgl_fast.run.plots.canvas import save
from sgl_fast.run.plots.style import COLOURS
from sgl_fast.spaces import space

ROOT = Path(__file__).parents[2]
DARTS = space("darts")
OPS = {"normal": DARTS.ops_normal, "reduce": DARTS.ops_reduce}


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Figure]:
    """Calls a plot function and returns its figure; the file is written, too."""
    figures: list[Figure] = []
    for module in (alphas, cells, curves):
        monkeypatch.setattr(module, "save", lambda figure, path: (figures.append(figure), save(figure, path)))

    def call(plot: Callable[..., None], *args: Any) -> Figure:
        plot(tmp_path / "plot.png", *args)
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        return figures.pop()

    return call


def history(steps: int = 5, learners: int = 2, ops: int = 8) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"step": 10 * t} | {f"alphas_{k}": rng.dirichlet(np.ones(ops), (learners, 14)).tolist() for k in OPS}
        for t in range(steps)
    ]


def boxes_of(figure: Figure) -> dict[tuple[float, float], tuple[str, FancyBboxPatch]]:
    """By middle (x, y): the text and the box around it."""
    ax = figure.axes[0]
    texts = {tuple(np.round(t.get_position(), 3)): t.get_text() for t in ax.texts}
    found = {}
    for box in (p for p in ax.patches if isinstance(p, FancyBboxPatch)):
        x, y = box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2
        found[x, y] = texts[round(x, 3), round(y + 0.01, 3)], box
    return found


def edges_drawn(figure: Figure) -> list[tuple[str, str, str]]:
    """(source, op, target) read back from where boxes and lines lie."""
    boxes = boxes_of(figure)
    lines = [line.get_xydata() for line in figure.axes[0].lines if line.get_color() != "white"]
    level = [line[0] for line in lines if len(line) == 2 and line[0][1] == line[1][1]]
    found = []
    for (x, y), (op, _) in boxes.items():
        if op in COLOURS or "conv" in op:
            begin = max(lx for lx, ly in level if abs(ly - y) < 1e-6 and lx < x)  # the other cell lies further left
            source = next(text for (bx, by), (text, _) in boxes.items() if abs(bx - begin) < 1e-6 and by < y)
            target = min((bx, text) for (bx, by), (text, _) in boxes.items() if bx > x and abs(by - y) < 0.2)[1]
            found.append((source, op, target))
    return found


@pytest.mark.parametrize("name", ["DARTS_V2", "NASNet", "AmoebaNet", "PC_DARTS_image"])
def test_cells_show_every_edge_of_the_genotype(draw: Callable[..., Figure], name: str) -> None:
    figure = draw(plots.plot_cells, [genotypes[name]])
    states = ["$c_{k-2}$", "$c_{k-1}$", *map(str, range(9))]
    want = [
        (states[source], op, str(i // 2))
        for kind in OPS
        for i, (op, source) in enumerate(getattr(genotypes[name], kind))
    ]
    assert sorted(edges_drawn(figure)) == sorted(want)


def test_cells_overlap_nowhere(draw: Callable[..., Figure]) -> None:
    figure = draw(plots.plot_cells, [genotypes["AmoebaNet"], genotypes["PDARTS"]], ["a", "b"])
    ax = figure.axes[0]
    boxes = [box.get_window_extent() for _, box in boxes_of(figure).values()]
    assert len(boxes) == 2 * (10 + 8 + 5 + 4 + 2 * 3)
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    for part in [*boxes, *(text.get_window_extent() for text in ax.texts)]:
        assert (
            figure.bbox.x0 < part.x0 < part.x1 < figure.bbox.x1 and figure.bbox.y0 < part.y0 < part.y1 < figure.bbox.y1
        )
    labels = {tuple(np.round(t.get_position(), 3)): t.get_window_extent() for t in ax.texts}
    for (x, y), (text, box) in boxes_of(figure).items():
        inner, outer = labels[round(x, 3), round(y + 0.01, 3)], box.get_window_extent()
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1, f"{text} sticks out"
    drawn = [line.get_xydata() for line in ax.lines if line.get_linestyle() != "None"]
    upright = [line for line in drawn if len(line) == 2 and line[0][0] == line[1][0]]
    read = [{source for _, source in getattr(genotypes[g], kind)} for g in ("AmoebaNet", "PDARTS") for kind in OPS]
    assert len(upright) == sum(map(len, read))
    for (x, begin), (_, end) in upright:
        for (bx, by), (text, box) in boxes_of(figure).items():
            if begin + 0.01 < by < end + 0.1:
                assert abs(bx - x) > box.get_width() / 2 + 0.05, f"a line runs through {text}"
    titles = [t.get_window_extent() for t in ax.texts if "cell" in t.get_text()]
    assert len(titles) == 4 and not any(t.overlaps(box) for t in titles for box in boxes)


def test_cells_need_a_title_for_each_or_none(tmp_path: Path) -> None:
    for args in (([],), ([genotypes["PDARTS"]], ["a", "b"])):
        with pytest.raises(ValueError, match="a title for each"):
            plots.plot_cells(tmp_path / "c.png", *args)


def test_alphas_are_where_their_numbers_say(draw: Callable[..., Figure]) -> None:
    past = history()
    panels = [c for c in draw(plots.plot_alphas, past, OPS).axes[0].collections if isinstance(c, LineCollection)]
    assert len(panels) == 2 * 2 * (14 + 1)
    table = np.array([entry["alphas_reduce"] for entry in past])  # learner 0's reduction cell is the second block
    top = alphas._round_up(max(np.max(entry[f"alphas_{k}"]) for entry in past for k in OPS))
    for edge, panel in enumerate(panels[15:29]):
        heights = np.array([line[:, 1] for line in panel.get_segments()])
        rise = (heights[:, :1] - heights) / alphas.PANEL_H * top  # y grows downwards
        np.testing.assert_allclose(rise, (table[:, 0, edge] - table[0, 0, edge]).T, atol=1e-9)
    mean = table[:, 0].mean(1).T
    heights = np.array([line[:, 1] for line in panels[29].get_segments()])
    scale = (alphas.PANEL_Y + alphas.PANEL_H) / alphas._round_up(mean.max())
    np.testing.assert_allclose((heights[:, :1] - heights) / scale, mean - mean[:, :1], atol=1e-9)


def test_alphas_of_edges_with_different_ops(draw: Callable[..., Figure]) -> None:
    ops = [(("none", "skip_connect"), ("sep_conv_3x3", "dil_conv_5x5"))[e % 2] for e in range(14)]
    figure = draw(plots.plot_alphas, history(steps=1, learners=1, ops=2), {"normal": ops, "reduce": ops})
    ax = figure.axes[0]
    legend = {t.get_text() for t in ax.texts} & set(COLOURS)
    assert legend == {"none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"}
    first, second = (c.get_colors() for c in ax.collections[:2])
    assert not np.allclose(first, second)
    assert all(len(line) == 2 for line in ax.collections[0].get_segments()), "a single entry is a level line"


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_alphas_of_other_sizes_fit_in(draw: Callable[..., Figure], nodes: int) -> None:
    small = space("darts", nodes=nodes)
    edges = len(small.ops_normal)
    past = [{"step": s} | {f"alphas_{k}": np.full((1, edges, 8), 0.125) for k in OPS} for s in (0, 1)]
    figure = draw(plots.plot_alphas, past, {"normal": small.ops_normal, "reduce": small.ops_reduce})
    extents = [text.get_window_extent() for text in figure.axes[0].texts if "→" not in text.get_text()]
    for a, b in itertools.combinations(extents, 2):
        assert not a.overlaps(b)
    assert all(e.x1 <= figure.bbox.x1 and e.x0 >= 0 for e in extents)


def test_alphas_of_wrong_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"alphas_normal \(K, E, O\) with E, O = \(14, 8\); got \(2, 14, 5\)"):
        plots.plot_alphas(tmp_path / "a.png", history(ops=5), OPS)
    with pytest.raises(ValueError, match="at least one entry"):
        plots.plot_alphas(tmp_path / "a.png", [], OPS)


def test_curves_have_a_panel_a_key_and_a_line_a_learner(draw: Callable[..., Figure]) -> None:
    records = [{"step": s, "train_loss": [1.0 / s, 2.0 / s], "lr": 0.1} for s in range(1, 6)]
    records[2]["train_loss"] = [None, float("nan")]
    records.append({"step": 5, "val_accuracy": 0.5})
    records.append({"step": 6, "val_accuracy": None})
    figure = draw(plots.plot_curves, records)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["train loss", "val accuracy"]
    first, second = figure.axes[0].lines
    np.testing.assert_array_equal(first.get_ydata(), [1, 1 / 2, np.nan, 1 / 4, 1 / 5])
    np.testing.assert_array_equal(second.get_ydata(), [2, 1, np.nan, 2 / 4, 2 / 5])
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[5, 0.5]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["learner 0", "learner 1"]


def test_moving_mean_leaves_nan_out() -> None:
    y = np.array([1.0, 3.0, np.nan, 5.0, 9.0])
    np.testing.assert_allclose(curves._moving_mean(y, 2), [1, 2, np.nan, 5, 7])
    np.testing.assert_allclose(curves._moving_mean(y, 9), [1, 2, np.nan, 3, 4.5])


def test_nothing_to_plot_is_refused(tmp_path: Path) -> None:
    for records in ([], [{"step": 1, "lr": 0.1}]):
        with pytest.raises(ValueError, match="no record holds a loss"):
            plots.plot_curves(tmp_path / "c.png", records)
    assert not list(tmp_path.iterdir())


def test_a_failing_plot_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def fail(figure: Figure, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise RuntimeError

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        plots.plot_curves(path, [{"step": 1, "loss": 1.0}])
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_import_is_light_and_pyplot_stays_out(tmp_path: Path) -> None:
    code = """
import sys
from sgl_fast.run import plots
assert not {"torch", "matplotlib"} & set(sys.modules)
plots.plot_curves(sys.argv[1], [{"step": 1, "loss": 1.0}])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.png")], check=True)


DRAWN = """
import hashlib, os, sys
from pathlib import Path
from sgl_fast.run import plots
from sgl_fast.genotype.published import genotypes
folder = Path(sys.argv[1])
plots.plot_cells(folder / "cells.png", [genotypes.DARTS_V2], ["$x_$ \u65e5"])
plots.plot_curves(folder / "curves.png", [{"step": s, "a_$^$_loss": [1.0, 2.0]} for s in range(3)])
ops = {kind: [["none", "$_^$"]] * 2 for kind in ("normal", "reduce")}
plots.plot_alphas(folder / "alphas.png", [{"step": 1, **{f"alphas_{k}": [[[.5, .5]] * 2] for k in ops}}], ops)
print([hashlib.md5((folder / f"{name}.png").read_bytes()).hexdigest() for name in ("cells", "curves", "alphas")])
"""
ODD = {"figure.dpi": 30, "font.family": "No Such Font", "text.usetex": True, "figure.autolayout": True}


def drawn(tmp_path: Path, **environment: str) -> str:
    """Digests of three pictures, drawn by a process in which every warning is an error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MPL")} | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-W", "error", "-c", DRAWN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pictures_do_not_depend_on_the_users_matplotlib(tmp_path: Path) -> None:
    """The backend of a notebook, which its shell lacks; a matplotlibrc; labels that are no mathematics."""
    plain = drawn(tmp_path)
    assert drawn(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline") == plain
    lines = [*(f"{name}: {value}" for name, value in ODD.items()), "savefig.bbox: tight", "no.key: 1", "backend: nope"]
    (tmp_path / "matplotlibrc").write_text("\n".join(lines))
    assert drawn(tmp_path, MPLBACKEND="nope") == plain


def test_the_users_settings_are_left_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    records = [{"step": s, "loss": [1.0, 2.0]} for s in range(3)]
    plots.plot_curves(tmp_path / "a.png", records)
    with matplotlib.rc_context(ODD):
        before = dict(matplotlib.rcParams)
        plots.plot_curves(tmp_path / "b.png", records)
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

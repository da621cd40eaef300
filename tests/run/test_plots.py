from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from sgl_fast.genotype.published import genotypes
from sgl_fast.run import plots
from sgl_fast.run.plots import curves
from sgl_fast.run.plots.style import COLOURS
from sgl_fast.spaces import edges_of, space

DARTS = space("darts")
OPS = {"normal": DARTS.ops_normal, "reduce": DARTS.ops_reduce}


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Figure]:
    """Calls a function that makes a figure; the files are written, too."""

    def call(figure_of: Callable[..., Figure], *args: Any) -> Figure:
        figure = figure_of(*args)
        plots.save(figure, tmp_path / "plot")
        contents = {path.suffix: path.read_bytes() for path in tmp_path.iterdir()}
        assert {suffix: content[:4] for suffix, content in contents.items()} == {
            ".png": b"\x89PNG",
            ".svg": b"<?xm",
            ".pdf": b"%PDF",
        }
        return figure

    return call


def history(steps: int = 5, learners: int = 2, ops: int = 8) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"step": 10 * t, "epoch": t, **{f"alphas_{k}": rng.dirichlet(np.ones(ops), (learners, 14)) for k in OPS}}
        for t in range(1, steps + 1)
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
    figure = draw(plots.cells_figure, [genotypes[name]])
    states = ["cₖ₋₂", "cₖ₋₁", *map(str, range(9))]
    want = [
        (states[source], op, str(i // 2))
        for kind in OPS
        for i, (op, source) in enumerate(getattr(genotypes[name], kind))
    ]
    assert sorted(edges_drawn(figure)) == sorted(want)


def test_cells_overlap_nowhere(draw: Callable[..., Figure]) -> None:
    figure = draw(plots.cells_figure, [genotypes["AmoebaNet"], genotypes["PDARTS"]], ["a", "b"])
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
    titles = [t.get_window_extent() for t in ax.texts if "cell" in t.get_text() or t.get_text() in "ab"]
    assert len(titles) == 6 and not any(t.overlaps(box) for t in titles for box in boxes)


def test_cells_need_a_title_for_each_or_none() -> None:
    for args in (([],), ([genotypes["PDARTS"]], ["a", "b"])):
        with pytest.raises(ValueError, match="a title for each"):
            plots.cells_figure(*args)


def heat_maps(figure: Figure) -> list[tuple[list[str], np.ndarray, list[Any]]]:
    """Of every heat map: names of the columns, the table (E, columns, T), the corners of rings."""
    found = []
    for ax in (ax for ax in figure.axes if ax.images and ax.get_visible() and len(ax.get_xticks()) > 0):
        names = [t.get_text().replace("\n", " ").replace(" ", "_") for t in ax.get_xticklabels()]
        if names[0].startswith("edge") or names[0] in COLOURS:
            table = np.ma.filled(ax.images[0].get_array(), np.nan)
            rings = sorted((round(r.get_y() - 0.08), round(r.get_x() - 0.03)) for r in ax.patches)
            found.append((names, table.reshape(len(table), len(names), -1), rings))
    return found


def test_alphas_are_the_difference_from_uniform_and_what_is_chosen_is_ringed(draw: Callable[..., Figure]) -> None:
    past = history()
    for entry in past:
        entry |= {f"betas_{k}": [[1 / 2] * 2 + [1 / 3] * 3 + [0.4, 0.2, 0.2, 0.2] + [1 / 5] * 5] * 2 for k in OPS}
        entry["skips"] = [{"normal": 3, "reduce": 1}, {"normal": 0, "reduce": 8}]
    genotype = genotypes["DARTS_V2"]
    past[-1]["genotypes"] = [{kind: getattr(genotype, kind) for kind in OPS}] * 2
    figure = draw(plots.alphas_figure, past, [OPS] * 2)
    maps = heat_maps(figure)
    assert len(maps) == 2 * 2 * 2
    names, table, rings = maps[2]  # learner 0's reduction cell, after its normal cell and the betas of that
    assert names == list(DARTS.ops_reduce[0])
    want = np.array([entry["alphas_reduce"][0] for entry in past]) - 1 / 8
    np.testing.assert_allclose(table, want.transpose(1, 2, 0), atol=1e-12)
    chosen = {(edges_of(i // 2)[source], names.index(op)) for i, (op, source) in enumerate(genotype.reduce)}
    assert rings == sorted(chosen) and len(rings) == 8
    assert maps[3][0] == ["edge_(beta)"] and maps[3][2] == []
    np.testing.assert_allclose(maps[3][1][5:10, 0, 0], [0.15, -0.05, -0.05, -0.05, 0], atol=1e-12)
    bars = [ax for ax in figure.axes if ax.get_ylabel() == "skips"]
    assert [[bar.get_height() for bar in ax.patches] for ax in bars] == [[n] * 5 for n in (3, 1, 0, 8)]


def test_alphas_of_edges_and_learners_with_different_ops(draw: Callable[..., Figure]) -> None:
    """An operation that an edge lacks is left grey; each learner has its own (P-DARTS)."""
    pairs = [("none", "skip_connect"), ("sep_conv_3x3", "dil_conv_5x5")]
    ops = [dict.fromkeys(OPS, [pairs[(e + k) % 2] for e in range(14)]) for k in range(2)]
    past = history(steps=1, learners=2, ops=2)
    maps = heat_maps(draw(plots.alphas_figure, past, ops))
    assert [names for names, _, _ in maps] == [["none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"]] * 4
    for k, (_, table, _) in zip((0, 0, 1, 1), maps, strict=True):
        lacking = np.isnan(table[:, :, 0])
        assert (lacking == [[(e + k) % 2 == 1] * 2 + [(e + k) % 2 == 0] * 2 for e in range(14)]).all()
    np.testing.assert_allclose(maps[0][1][1, 2:, 0], np.array(past[0]["alphas_normal"][0][1]) - 0.5)


@pytest.mark.parametrize("nodes", [1, 5])
def test_alphas_of_other_sizes_fit_in(draw: Callable[..., Figure], nodes: int) -> None:
    small = space("darts", nodes=nodes)
    edges = len(small.ops_normal)
    past = [{"step": s, "epoch": s} | {f"alphas_{k}": np.full((1, edges, 8), 0.125) for k in OPS} for s in (1, 2)]
    figure = draw(plots.alphas_figure, past, [{"normal": small.ops_normal, "reduce": small.ops_reduce}])
    shown = [ax for ax in figure.axes if ax.images]
    drawn = {}
    for text in (t for ax in shown for axis in (ax.xaxis, ax.yaxis) for t in axis.get_ticklabels() if t.get_text()):
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= figure.bbox.y1
        drawn[text] = box
    for (a, box), (b, other) in itertools.combinations(drawn.items(), 2):
        assert not box.overlaps(other), (a, b)


def test_alphas_of_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"need alphas_normal \(K, E, O\) = \(2, 14, 8\); got \(2, 14, 5\)"):
        plots.alphas_figure(history(ops=5), [OPS] * 2)
    with pytest.raises(ValueError, match="at least one entry"):
        plots.alphas_figure([], [OPS])


def lines_of(figure: Figure) -> dict[str, list[Any]]:
    """By title: the lines of a panel that hold points; those of the legend hold none."""
    shown = (ax for ax in figure.axes if ax.get_visible())
    return {ax.get_title(loc="left"): [line for line in ax.lines if len(line.get_xdata())] for ax in shown}


def test_training_and_validation_share_a_panel_over_epochs(draw: Callable[..., Figure]) -> None:
    """A colour a learner, errors in place of accuracies, an upright line where the architecture starts."""
    records: list[dict[str, Any]] = [
        {"step": s, "epoch": (s + 1) // 2, "train_loss": [1.0 / s, 2.0 / s], "other": 0.1} for s in range(1, 6)
    ]
    records[2]["train_loss"] = [None, float("nan")]
    records[3] |= {"validation_loss": [0.5, 0.25], "validation_accuracy": [0.5, 0.75], "lr_w": 0.1}
    figure = draw(plots.curves_figure, records, {1: "architecture"})
    panels = lines_of(figure)
    assert list(panels) == ["loss", "error, %", "learning rate"]
    first, second, held, _, mark = panels["loss"]
    assert first.get_xdata().tolist() == [0.5, 1, 1.5, 2, 2.5] and held.get_xydata().tolist() == [[2, 0.5]]
    np.testing.assert_array_equal(first.get_ydata(), [1, 1 / 2, np.nan, 1 / 4, 1 / 5])
    np.testing.assert_array_equal(second.get_ydata(), [2, 1, np.nan, 2 / 4, 2 / 5])
    assert first.get_color() == held.get_color() != second.get_color()
    assert [line.get_ydata()[0] for line in panels["error, %"][:2]] == [50, 25]
    assert mark.get_xdata() == [1, 1] and "architecture" in figure.axes[0].texts[0].get_text()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["learner 0", "learner 1"]
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_a_network_alone_has_no_learners_and_many_have_a_colour_each(draw: Callable[..., Figure]) -> None:
    numbers = {"train_accuracy": 0.75, "test_accuracy": 0.5, "lr": 0.1, "grad_norm": 2.0, "train_loss": 1.0}
    figure = draw(plots.curves_figure, [{"step": s, "epoch": s, **numbers} for s in (1, 2)])
    panels = lines_of(figure)
    assert [line.get_ydata().tolist() for line in panels["error, %"]] == [[25, 25], [50, 50]]
    assert list(panels) == ["loss", "error, %", "learning rate", "gradient norms"] and not figure.legends
    assert len({str(colour) for colour in curves.colours_of(20)}) == 20


def test_moving_mean_leaves_nan_out() -> None:
    y = np.array([1.0, 3.0, np.nan, 5.0, 9.0])
    np.testing.assert_allclose(curves._moving_mean(y, 2), [1, 2, np.nan, 5, 7])
    np.testing.assert_allclose(curves._moving_mean(y, 9), [1, 2, np.nan, 3, 4.5])


def test_nothing_to_plot_is_refused() -> None:
    for records in ([], [{"step": 1, "epoch": 1, "seed": 0.1}]):
        with pytest.raises(ValueError, match="no record holds a loss"):
            plots.curves_figure(records)

"""Draws the pictures of design.md beside it: python docs/draw.py [FOLDER]. Two are measured on a small step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from sgl_fast import Batch, Supernet, space
from sgl_fast.sgl.difference import derivative
from sgl_fast.sgl.options import Options
from sgl_fast.sgl.passes import Passes, PassOptions
from sgl_fast.sgl.step import sgl_step
from sgl_fast.sgl.virtual_learners import VirtualLearners, one_hot

K, N, SIDE = 2, 16, 16
BLUE, ORANGE, GREEN, GREY, PINK = "#4477aa", "#ee7733", "#228833", "#bbbbbb", "#aa3377"
RADII = [10 ** (-exponent / 2) for exponent in range(1, 11)]


def small_step(dtype: torch.dtype = torch.float64) -> tuple[Supernet, torch.Tensor, torch.Tensor, Any, Batch]:
    """A PC-DARTS supernet of two cells, weights W and V (K, P), an architecture and a batch; the same in any dtype."""
    net = Supernet(space("pc_darts", channels=8, layers=3, nodes=2))
    generator = torch.Generator().manual_seed(0)
    wide = torch.float64
    w, v = net.init_weights(2 * K, generator, wide).to(dtype).split(K)
    arch = net.init_arch(K, generator, wide).map(lambda t: t.to(dtype))
    x = torch.randn(3, N, 3, SIDE, SIDE, generator=generator, dtype=wide).to(dtype)
    y = torch.randint(10, (2, N), generator=generator)
    return net, w, v, arch, Batch(x[0], y[0], x[1], x[2], y[1])


class Recorder(Passes):
    """Passes that note what they run, each as (kind, rows, gradients)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[tuple[str, Any, str]] = []

    def gradients(self, rows: VirtualLearners, weights: bool = False, arch: bool = False, **how: Any) -> Any:
        wanted = {(1, 0): "dW", (0, 1): "dA", (1, 1): "dW, dA"}[(int(weights), int(arch))]
        kept = "replays" if rows.patterns else "records" if how.get("record") else ""
        self.calls.append((kept, rows, wanted))
        return super().gradients(rows, weights, arch, **how)

    def linearize(self, rows: VirtualLearners, grad: bool = True) -> Any:
        self.calls.append(("keeps its graph", rows, ""))
        return super().linearize(rows, grad)

    def vjp(self, linearized: Any, cotangent: torch.Tensor) -> Any:
        self.calls.append(("", self.calls[1][1], "dV', dA"))
        return super().vjp(linearized, cotangent)


def recorded_step() -> tuple[Recorder, list[list[str]], list[str]]:
    """One second-order step: its passes, the weights of each pass's rows and its images."""
    net, w, v, arch, batch = small_step()
    passes = Recorder(net, arch, None, PassOptions(backend="reference"))
    step = sgl_step(passes, w, v, batch, Options(0.1, 0.1), lambda a, g: a - 0.1 * g, lambda a, g: a - 0.1 * g)
    known = {"V": v, "W": w, "V'": step.v, "W'": step.w}
    images = {id(batch.x_train): "train", id(batch.x_unlabeled): "unlabelled", id(batch.x_val): "validation"}
    weights = [
        [name_of(row, i % K, "+-"[i >= K], known) for i, row in enumerate(rows.weights)] for _, rows, _ in passes.calls
    ]
    return passes, weights, [images[id(rows.images)] for _, rows, _ in passes.calls]


def name_of(row: torch.Tensor, learner: int, sign: str, known: dict[str, torch.Tensor]) -> str:
    """The weights that a row holds, or those that it was perturbed from, with the sign of its half of the pass."""
    apart = {name: float((row - of[learner]).norm()) for name, of in known.items()}
    name = min(apart, key=apart.__getitem__)
    return f"{name}{'' if apart[name] == 0 else sign}{learner + 1}"


def canvas(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(axes: Any, x: float, y: float, width: float, height: float, colour: str, text: str = "", size: int = 9) -> None:
    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="black", linewidth=0.6, alpha=0.55))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    style = f"arc3,rad={bend}"
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, connectionstyle=style, lw=0.8))


def virtual_learners() -> Figure:
    """Which weights meet which images in each pass of a step: the rows as they ran."""
    passes, weights, images = recorded_step()
    figure, axes = canvas(7.6, 0.42 * len(passes.calls) + 0.5)
    colours = {"train": BLUE, "unlabelled": ORANGE, "validation": GREEN}
    top = 0.42 * len(passes.calls)
    for x, title in (
        (0.2, "pass"),
        (0.9, "rows: weights of learners 1, 2"),
        (3.7, "images"),
        (5.0, "gradients; pattern"),
    ):
        axes.text(x, top + 0.15, title, fontsize=9, weight="bold")
    for number, ((kept, _, wanted), names, seen) in enumerate(zip(passes.calls, weights, images, strict=True)):
        y = top - 0.42 * (number + 1) + 0.06
        back_only = wanted == "dV', dA"
        axes.text(0.2, y + 0.1, "2, back" if back_only else str(number + 1 - (number > 6)), fontsize=9)
        for column, name in enumerate(names):
            box(axes, 0.9 + 0.68 * column, y, 0.62, 0.3, colours[seen], name)
        axes.text(3.7, y + 0.1, seen, fontsize=9)
        axes.text(5.0, y + 0.1, "; ".join(part for part in (wanted, kept) if part), fontsize=9)
    return figure


def flat_weights() -> Figure:
    """The flat vector of one learner, by sections, and the start of one cell."""
    net = small_step()[0]
    figure, axes = canvas(7.6, 2.1)
    shades = [GREY, BLUE, ORANGE, PINK, GREEN]
    for section, colour in zip(net.sections.sections, shades, strict=True):
        first = section.entries[0].offset
        x, width = 0.2 + 7.2 * first / net.num_weights, 7.2 * section.num_weights / net.num_weights
        box(axes, x, 1.3, width, 0.4, colour, section.name if width > 0.7 else "")
        if width <= 0.7:
            axes.text(x + width / 2, 1.8, section.name, fontsize=8, ha="left" if first == 0 else "right")
    cell = net.sections.cells[0][1]
    for i, entry in enumerate(cell.entries[:6]):
        label = entry.name.removeprefix("cells.0.").removesuffix(".weight").replace(".", "\n")
        box(axes, 0.2 + 1.2 * i, 0.1, 1.2, 0.85, BLUE, f"{label}\n{'x'.join(map(str, entry.shape))}", 7)
    start = 0.2 + 7.2 * cell.entries[0].offset / net.num_weights
    arrow(axes, (start, 1.3), (0.2, 0.95))
    axes.text(7.42, 0.45, "...", fontsize=9)
    return figure


def cell_stages() -> Figure:
    """What the forward of one cell launches, and what each part reads."""
    figure, axes = canvas(7.6, 3.0)
    box(axes, 0.1, 2.1, 0.9, 0.5, GREY, "s0")
    box(axes, 0.1, 0.5, 0.9, 0.5, GREY, "s1")
    for y, name in ((2.1, "state 0"), (0.5, "state 1")):
        box(axes, 1.6, y, 0.9, 0.5, BLUE, name)
        arrow(axes, (1.0, y + 0.25), (1.6, y + 0.25))
        axes.text(1.3, y + 0.56, "preprocess", fontsize=7, ha="center")
        arrow(axes, (2.5, y + 0.25), (3.1, y + 0.25))
    for y in (2.1, 0.5):
        box(axes, 3.1, y + 0.1, 1.5, 0.6, ORANGE, "A: first convs of all\nout-edges; pools once", 7)
        box(axes, 3.1, y - 0.45, 1.5, 0.35, ORANGE, "B: second halves of sep", 7)
        arrow(axes, (3.85, y + 0.1), (3.85, y - 0.1))
        for start in (y + 0.4, y - 0.27):
            arrow(axes, (4.6, start), (5.2, 1.45 + (y - 1.3) / 6))
    box(axes, 5.2, 1.2, 1.1, 0.5, GREEN, "C: combine\ninto node 0", 7)
    box(axes, 6.6, 1.2, 0.9, 0.5, BLUE, "state 2")
    arrow(axes, (6.3, 1.45), (6.6, 1.45))
    axes.text(6.55, 0.95, "sum of w · (z - mean) · rstd", fontsize=7, ha="center")
    axes.text(3.85, 2.88, "z before its norm, and its sums", fontsize=7, ha="center")
    return figure


def errors(method: str, dtype: torch.dtype) -> list[float]:
    """Relative errors of the difference at RADII beside the exact second derivative, the own term of stage 1's W."""
    net, w, _, arch, batch = small_step(dtype)
    passes = Passes(net, arch, None, PassOptions(backend="reference"))
    rows = VirtualLearners(range(K), w, batch.x_train, one_hot(batch.y_train, 10, K, dtype))
    base = passes.gradients(rows, weights=True, arch=True, record=True)
    kept = VirtualLearners(rows.learners, w, rows.images, rows.targets, patterns=base.patterns)
    exact = derivative(passes, rows, base.weights, Options(0.1, 0.1, method="exact")).arch.flat()
    used = kept if method == "frozen" else rows
    off = []
    for r in RADII:
        got = derivative(passes, used, base.weights, Options(0.1, 0.1, method=method, r=r)).arch.flat()
        off.append(float((got - exact).norm() / exact.norm()))
    return off


def frozen_error() -> Figure:
    """Error of the central difference beside its radius, measured here."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.add_subplot(xlabel="r  (eps = r / ||v||)", ylabel="relative error", xscale="log", yscale="log")
    axes.plot(RADII, errors("finite_difference", torch.float64), "o-", color=ORANGE, label="plain, float64")
    axes.plot(RADII, errors("frozen", torch.float64), "s-", color=BLUE, label="pattern replayed, float64")
    axes.plot(RADII, errors("frozen", torch.float32), "^--", color=PINK, label="pattern replayed, float32")
    axes.set_ylim(1e-11, 1e2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    function.__name__: function for function in (virtual_learners, flat_weights, cell_stages, frozen_error)
}


def draw(folder: Path) -> None:
    """Every picture as SVG, the same bytes on every call."""
    with matplotlib.rc_context({"svg.hashsalt": "sgl_fast", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        for name, picture in PICTURES.items():
            picture().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

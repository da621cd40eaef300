"""What pictures are drawn on: matplotlib as it ships, whatever environment, matplotlibrc, style or rcParams say.

No pyplot (no global state, no display); every picture goes to its file atomically. matplotlib loads on first use.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ...files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@cache
def _matplotlib() -> ModuleType:
    """A backend that MPLBACKEND names and that is not there, as a notebook's is not in its shell, ends the import."""
    backend = os.environ.pop("MPLBACKEND", None)
    known = "matplotlib" in sys.modules
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend is not None and not known:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # for the user's own pictures
    return matplotlib


@contextmanager
def plain() -> Iterator[None]:
    """Around or on all that draws a picture. What matplotlib warns of, as signs that its font lacks, is not said."""
    matplotlib = _matplotlib()
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        settings = {name: value for name, value in dict.items(matplotlib.rcParamsDefault) if name != "backend"}
        dict.update(matplotlib.rcParams, settings)
        yield


def figure_of(width: float, height: float, dpi: int) -> Figure:
    """An empty figure, in inches, that draws by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def inches(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure and axes that span it, in inches, x to the right, y down."""
    figure = figure_of(width, height, 120)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    ax.axis("off")
    return figure, ax


def save(figure: Figure, path: str | Path) -> None:
    """A PNG at `path`, atomically."""
    with replacing(path) as file:
        figure.savefig(file, format="png")

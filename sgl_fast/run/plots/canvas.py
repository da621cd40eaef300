"""What pictures are drawn on: matplotlib as it ships, whatever environment, matplotlibrc, style or rcParams say.

No pyplot (no global state, no display); every picture goes to its file atomically. matplotlib loads on first use.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
RC = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # text stays text
    "svg.hashsalt": "sgl_fast",  # files repeat
}


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
        dict.update(matplotlib.rcParams, {**settings, **RC})
        yield


def figure_of(width: float, height: float, **options: Any) -> Figure:
    """An empty figure, in inches, that draws by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=120, **options)
    FigureCanvasAgg(figure)
    return figure


@plain()
def save(figure: Figure, stem: str | Path, formats: Sequence[str] = FORMATS) -> None:
    """The files stem.png and so on, of FORMATS, each atomically. No date is in them: equal pictures are equal files."""
    figure.draw_without_rendering()  # its layout, once for all formats
    figure.set_layout_engine("none")
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    for form in formats:
        with replacing(f"{stem}.{form}") as file:
            figure.savefig(file, format=form, metadata=dates.get(form))

"""The pictures of a run: alphas over time, the cells of its genotypes, losses, errors and rates. Each is a Figure."""

from .alphas import alphas_figure
from .canvas import FORMATS, save
from .cells import cells_figure
from .comparison import comparison_figure
from .curves import curves_figure

__all__ = ["FORMATS", "alphas_figure", "cells_figure", "comparison_figure", "curves_figure", "save"]

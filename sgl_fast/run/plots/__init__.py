"""The pictures of a run: alphas over time, the cells of its genotypes, losses and accuracies.

Drawings are in inches, x to the right, y down, so that what is placed apart stays apart.
"""

from .alphas import plot_alphas
from .cells import plot_cells
from .curves import plot_curves

__all__ = ["plot_alphas", "plot_cells", "plot_curves"]

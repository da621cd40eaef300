"""What the page says before its tables: how all of it is measured. No torch."""

from __future__ import annotations

from .plan import ARCH_LR, BATCH, CELLS, NODES, PIXELS, Study
from .statistics import DRAWS

TITLE = "# Whether searches find anything"
METHOD = "## How it is measured"
COMMAND = "    OMP_NUM_THREADS=1 python -m sgl_fast.reproduce evidence --workers 2"


def about(study: Study) -> list[str]:
    """Paragraphs, a line each: the title, what it is and the command; then, below `METHOD`, how it is measured."""
    first = (
        "Every search ends with a genotype, also one that found nothing, and random cells of these spaces are good. So "
        "a search counts here only beside random architectures. One command measures it, on a CPU and on images that "
        "the package has:"
    )
    more = (
        "It goes on where it was stopped; `--only a,b` runs some of it, `--list` shows every job as a command line, "
        "and `evidence.csv` has the numbers."
    )
    return [TITLE, first, COMMAND, more, METHOD, _searched(study), _trained(study), _held_against(study), _unsaid()]


def _searched(study: Study) -> str:
    scale = study.scale
    return (
        f"**What is searched.** Fashion-MNIST at {PIXELS}x{PIXELS} pixels, supernets of {CELLS} cells with {NODES} "
        f"nodes and {scale.channels} channels, batches of {BATCH}, `arch_lr` {ARCH_LR:g} from the first step on, no "
        "warm-up. In (a) and (b) every edge has a separable convolution or noise (space S4 of RobustDARTS), for "
        f"{scale.marks[-1]} steps; noise helps nobody, so that a search that works must drop it. In (c) to (e) it has "
        f"DARTS's seven operations but `none`, for {scale.looks[-1]} steps on {scale.images} images of each half. "
        "`K = 1` is a single learner: DARTS. SGL is run as the authors released it, as the paper prints it, and as "
        "`best`, our default."
    )


def _trained(study: Study) -> str:
    of_whole, of_noise = study.scale.initialisations
    return (
        "**What is trained.** The network of a cell at the size of the supernet, from scratch, on all training images, "
        f"from {of_whole} initialisations, of noise {of_noise}, all cells on the same batches; it is tested on images "
        "that no search has seen. The mean over the initialisations is the cell's accuracy."
    )


def _held_against(study: Study) -> str:
    return (
        "**What it is held against.** Counts: architectures whose operations are drawn at random. Trained cells: "
        "random cells, trained in the same way; and cells of the same searches stopped after "
        f"{study.scale.looks[0]} steps, which any gain that is not the search's would have too. Scores by alphas: "
        f"{DRAWS} architectures of random alphas, scored on the same cells. Shuffling the cells would be no fair null: "
        "cells share operations, so that random alphas reach larger correlations than shuffled ones."
    )


def _unsaid() -> str:
    return (
        "**What it does not say.** It is one small data set. Whether SGL's cells are better than a single learner's, "
        "or second order's than first's, cannot be told here: it takes the number of searches that (d) names for each "
        "of the two, and this has a few."
    )

"""The compiled extension: the library of operators, which any Python and torch load, and the module of this Python."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

LIBRARY = Path(__file__).parent.parent / "libsgl_fast.so"
# Of the library, for the CPU and for CUDA; those after them for the CPU alone.
OPERATORS = (
    "augment",
    "central_difference",
    "cross_entropy",
    "dropout_masks",
    "mixed_cell",
    "mixed_cell_backward",
    "perturb",
    "pseudo_label_vjp",
    "pseudo_labels",
    "row_norms",
    "sgd",
)
CPU_OPERATORS = "convolution", "convolution_input", "convolution_weight"
REMEDY = "pip install . in the sources, with a C++17 compiler"


def load_extension() -> SimpleNamespace | str:
    """Operators of the CPU and functions of sgl_fast._C by name, those of CUDA in `cuda`; or why it does not load."""
    needed = "backends 'cpu' and 'cuda' need the compiled extension, which"
    if not LIBRARY.exists():
        return f"{needed} is not installed: {REMEDY}"
    try:
        return _loaded()
    except ModuleNotFoundError:
        return f"{needed} has no part for Python {sys.version_info[0]}.{sys.version_info[1]} here: {REMEDY}"
    except (ImportError, OSError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        return f"{needed} does not load ({reason}): {REMEDY}"


def _loaded() -> SimpleNamespace:
    import torch

    torch.ops.load_library(LIBRARY)
    module = importlib.import_module("sgl_fast._C")

    def operators(place: str, names: tuple[str, ...]) -> dict[str, object]:
        return {name: getattr(getattr(torch.ops, place), name).default for name in names}

    cuda = SimpleNamespace(
        **operators("sgl_fast_cuda", OPERATORS),
        why_no_driver=module.cuda.why_no_driver,
        load=module.cuda.load,
        loaded=module.cuda.loaded,
    )
    cpu = operators("sgl_fast_cpu", OPERATORS + CPU_OPERATORS)
    return SimpleNamespace(**cpu, program=module.program, isa=module.isa, cuda=cuda)

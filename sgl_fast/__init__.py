"""Small-Group Learning for neural architecture search (Du and Xie, arXiv 2012.12502). The public face.

Names load on first use, so that a command line can answer --help without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends.choice import use_backend as use_backend
    from .backends.choice import why_not as why_not
    from .data.batch import Batch as Batch
    from .dropin import accelerate as accelerate
    from .dropin import report as report
    from .dropin import restore as restore
    from .dropin import stack as stack
    from .evaluate import run_evaluation as run_evaluation
    from .genotype.genotype import Genotype as Genotype
    from .genotype.genotype import derive as derive
    from .genotype.published import genotypes as genotypes
    from .nets.network import Network as Network
    from .nets.search_checkpoint import load_search_checkpoint as load_search_checkpoint
    from .nets.supernet import RunningStats as RunningStats
    from .nets.supernet import Supernet as Supernet
    from .reference.pattern import Pattern as Pattern
    from .run.weights import load_network as load_network
    from .search import run_search as run_search
    from .sgl.architect import Architect as Architect
    from .sgl.config import Config as Config
    from .sgl.hypergradient import hypergradient as hypergradient
    from .sgl.search import Search as Search
    from .spaces import Space as Space
    from .spaces import space as space
    from .spaces.arch import Arch as Arch

__version__ = "0.1.0"

_HOME = {
    "Space": "spaces",
    "space": "spaces",
    "Arch": "spaces.arch",
    "Supernet": "nets.supernet",
    "RunningStats": "nets.supernet",
    "Pattern": "reference.pattern",
    "Batch": "data.batch",
    "hypergradient": "sgl.hypergradient",
    "Config": "sgl.config",
    "Search": "sgl.search",
    "Genotype": "genotype.genotype",
    "derive": "genotype.genotype",
    "Network": "nets.network",
    "genotypes": "genotype.published",
    "load_network": "run.weights",
    "load_search_checkpoint": "nets.search_checkpoint",
    "run_search": "search",
    "run_evaluation": "evaluate",
    "use_backend": "backends.choice",
    "why_not": "backends.choice",
    "accelerate": "dropin",
    "restore": "dropin",
    "report": "dropin",
    "stack": "dropin",
    "Architect": "sgl.architect",
}
__all__ = ["__version__", *_HOME]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'sgl_fast' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"sgl_fast.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)

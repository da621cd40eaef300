"""Small-Group Learning for neural architecture search (Du and Xie, arXiv 2012.12502). The public face.

Names load on first use, so that a command line can answer --help without importing torch.
"""

from __future__ import annotations

import importlib
from typing import Any

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
    "use_backend": "backends.choice",
    "why_not": "backends.choice",
    "accelerate": "dropin",
    "restore": "dropin",
    "report": "dropin",
    "stack": "dropin",
    "Architect": "sgl.architect",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sgl_fast' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sgl_fast.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

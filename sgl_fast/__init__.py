"""Small-Group Learning for neural architecture search (Du and Xie, arXiv 2012.12502). The public face.

Names load on first use, so that a command line can answer --help without importing torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_ROOT = Path(__file__).parent.parent
if (_ROOT / "kernels" / "plan.py").is_file():  # the sources, not installed: sgl_fast.kernels is kernels/ beside this
    __path__.append(str(_ROOT))

_HOME = {
    "Space": "spaces",
    "space": "spaces",
    "Arch": "arch",
    "Supernet": "supernet",
    "RunningStats": "supernet",
    "Pattern": "pattern",
    "Batch": "batch",
    "hypergradient": "implicit",
    "Config": "config",
    "Search": "sgl",
    "Genotype": "genotype",
    "derive": "genotype",
    "Network": "network",
    "genotypes": "published",
    "use_backend": "backend",
    "why_not": "backend",
    "accelerate": "dropin",
    "restore": "dropin",
    "report": "dropin",
    "stack": "dropin",
    "Architect": "dropin",
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

"""Where the kernels of a GPU run lie once they are compiled."""

from __future__ import annotations

import os

from ..processes import ROOT

KEPT = ROOT / "build" / "caches"
FOLDERS = {"TRITON_CACHE_DIR": KEPT / "triton", "SGL_FAST_CACHE": KEPT / "cuda"}


def use_folders() -> None:
    """Of this process and its children, unless the environment names others."""
    for name, folder in FOLDERS.items():
        os.environ.setdefault(name, str(folder))

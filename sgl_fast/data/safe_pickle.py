"""Pickles of plain containers and numpy arrays, and of nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from ..errors import reason

# numpy's module of this function has changed its name; the function is reached without naming it.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no image data needs") from None


def loads(raw: bytes, source: str) -> Any:
    """The object in a pickle, strings of Python 2 as bytes; `source` names the file in the ValueError of a bad one.

    A name outside the allow-list ends the reading before anything is called.
    """
    try:
        return _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{source}: not a pickle of image data ({reason(error)})") from None

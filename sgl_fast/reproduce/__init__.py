"""The experiments of section 4: what the paper prints of them, and `python -m sgl_fast.reproduce`, which runs them."""

from .command import main

__all__ = ["main"]

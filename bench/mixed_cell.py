"""The fused cell that is timed."""

try:
    from sgl_fast.ops.mixed_cell import mixed_cell
except ModuleNotFoundError:
    from sgl_fast.reference import mixed_cell

__all__ = ["mixed_cell"]

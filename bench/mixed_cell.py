from sgl_fast.reference import mixed_cell

__all__ = ["mixed_cell"]

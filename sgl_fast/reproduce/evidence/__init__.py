"""`python -m sgl_fast.reproduce evidence`: whether searches find anything, measured on a CPU against random cells."""

"""Colours and names that all pictures share."""

from __future__ import annotations

from ...spaces import CODES

INK, FAINT = "#222222", "#c8c8c8"
TITLES = {"normal": "normal cell", "reduce": "reduction cell"}
LEARNERS = ("#1f6fb4", "#d1495b", "#2e8b57", "#8a5fb0", "#c9822b", "#5b6770")
_HUES = (
    *("#9a9a9a", "#f28e2b", "#d4a72c", "#e15759", "#4e79a7", "#5fb3b3", "#59a14f", "#b07aa1"),
    *("#2f4b7c", "#1b6e3c", "#8c6d5a"),
)
COLOURS = dict(zip(CODES, _HUES, strict=True))
OTHER = "#9c755f"


def state_name(state: int) -> str:
    return ("cₖ₋₂", "cₖ₋₁")[state] if state < 2 else str(state - 2)

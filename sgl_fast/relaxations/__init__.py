"""Relaxations: how architecture parameters become weights of operations, one module each. By name, without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Relaxation

# By name, where it is: module of this package and class.
RELAXATIONS: dict[str, tuple[str, str]] = {
    "softmax": ("base", "Relaxation"),
    "gdas": ("gumbel", "Gdas"),
    "snas": ("gumbel", "Snas"),
    "fair_darts": ("fair_darts", "FairDarts"),
    "drnas": ("drnas", "DrNas"),
    "sdarts_rs": ("sdarts", "SdartsRs"),
    "sdarts_adv": ("sdarts", "SdartsAdv"),
    "noisy_darts": ("noisy_darts", "NoisyDarts"),
    "darts_plus": ("stopped", "DartsPlus"),
    "r_darts": ("stopped", "RDarts"),
}
NAMES = tuple(RELAXATIONS)
STOPPING = ("darts_plus", "r_darts")  # those that may end a search early
SETTINGS: dict[str, dict[str, Any]] = {"r_darts": {"weight_decay": 27e-4}}  # fields of `Config` that make the method


def relaxation(name: str) -> Relaxation:
    """The relaxation of that name, with its published numbers. ValueError for an unknown one.

    >>> relaxation("softmax").weights(torch.zeros(1, 5, 4), None, None)[0, 0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if name not in RELAXATIONS:
        raise ValueError(f"unknown relaxation {name!r}; the relaxations are {', '.join(RELAXATIONS)}")
    module, kind = RELAXATIONS[name]
    found: Relaxation = getattr(import_module(f".{module}", __name__), kind)()
    return found

"""The algorithms, the ablations, and the numbers that each source gives for each space. No torch."""

from __future__ import annotations

from typing import Any

from ..spaces import RULES

ALGORITHMS: dict[str, dict[str, Any]] = {
    "best": {"order": 2, "method": "frozen", "explicit_pseudo_label_grad": True},
    "paper": {"order": 2, "method": "finite_difference", "explicit_pseudo_label_grad": False},
    "released": {"schedule": "released", "order": 1, "explicit_pseudo_label_grad": False, "arch_clip": 5.0},
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "no_stage_one": {"teacher": "self"},
    "separate": {"schedule": "separate", "pretrain_epochs": 0},
    "no_human_labels": {"human_labels": False},
}
ABLATION_LAM = {("no_stage_one", "cifar10"): 2.0, ("separate", "cifar10"): 2.0}  # section 4.4; 1 on other data sets
# What section 4.2 of SGL's paper prints, for every space (P-DARTS: for each stage).
PRINTED: dict[str, Any] = {
    "batch_size": 50,
    "epochs": 50,
    "lr": 0.025,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "arch_lr": 3e-4,
    "arch_weight_decay": 1e-3,
}
SETTINGS = ("paper", "published", "released")


def numbers(space: str, settings: str) -> dict[str, Any]:
    """Settings of `Config`, and batch_size, the images of each role a step that their learning rates belong to.

    settings   "paper": what section 4.2 prints; the rest follows the space's own authors, as it says, and on ImageNet
               those of CIFAR-10. "published": all of the space's own authors. "released": the code of SGL's authors
    """
    if space not in RULES:
        raise ValueError(f"unknown space {space!r}; the spaces are {', '.join(RULES)}")
    if settings not in SETTINGS:
        raise ValueError(f"unknown settings {settings!r}; there are {', '.join(SETTINGS)}")
    rules = RULES[space]
    if settings == "paper":
        return {**(rules.published if rules.on_cifar is None else rules.on_cifar), **PRINTED}
    return {**PRINTED, **rules.published, **(rules.released if settings == "released" else {})}


def default_settings(algorithm: str) -> str:
    """Whose numbers an algorithm has unless others are asked for."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}; the algorithms are {', '.join(ALGORITHMS)}")
    return "released" if algorithm == "released" else "paper"

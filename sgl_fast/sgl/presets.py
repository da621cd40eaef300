"""The algorithms, the ablations, and the numbers that each source gives for each space. No torch."""

from __future__ import annotations

from typing import Any

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
# What each space's own authors published, where that is another.
PUBLISHED: dict[str, dict[str, Any]] = {
    "darts": {"batch_size": 64, "lr_min": 0.001},
    "darts_minus": {"batch_size": 64, "lr_min": 0.001},
    "p_darts": {"batch_size": 96, "epochs": 25, "arch_lr": 6e-4, "arch_clip": 5.0, "arch_start": 10},
    "pc_darts": {"batch_size": 256, "lr": 0.1, "arch_lr": 6e-4, "arch_start": 15},
    "pc_darts_imagenet": {
        "batch_size": 1024,
        "lr": 0.5,
        "arch_lr": 6e-3,
        "arch_clip": 5.0,
        "arch_start": 35,
        "warmup_epochs": 5,
    },
}
# What the released code has, where that is another: epochs, those of pre-training included; P-DARTS: of each stage.
RELEASED: dict[str, dict[str, Any]] = {
    "darts": {"batch_size": 50, "epochs": 50, "pretrain_epochs": 5, "arch_start": 5},
    "darts_minus": {"batch_size": 50, "epochs": 50, "pretrain_epochs": 5, "arch_start": 5},
    "p_darts": {"epochs": 25, "pretrain_epochs": 5, "arch_start": 15},
    "pc_darts": {"batch_size": 50, "epochs": 60, "pretrain_epochs": 15, "arch_start": 30},
    "pc_darts_imagenet": {"epochs": 55, "pretrain_epochs": 10, "arch_start": 45},
}
SETTINGS = ("paper", "published", "released")


def numbers(space: str, settings: str) -> dict[str, Any]:
    """Settings of `Config`, and batch_size, the images of each role a step that their learning rates belong to.

    settings   "paper": what section 4.2 prints; the rest follows the space's own authors, as it says, and on ImageNet
               those of CIFAR-10. "published": all of the space's own authors. "released": the code of SGL's authors
    """
    if space not in PUBLISHED:
        raise ValueError(f"unknown space {space!r}; the spaces are {', '.join(PUBLISHED)}")
    if settings not in SETTINGS:
        raise ValueError(f"unknown settings {settings!r}; there are {', '.join(SETTINGS)}")
    if settings == "paper":
        return PUBLISHED[space.removesuffix("_imagenet")] | PRINTED
    return PRINTED | PUBLISHED[space] | (RELEASED[space] if settings == "released" else {})


def default_settings(algorithm: str) -> str:
    """Whose numbers an algorithm has unless others are asked for."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}; the algorithms are {', '.join(ALGORITHMS)}")
    return "released" if algorithm == "released" else "paper"

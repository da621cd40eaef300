"""Loss and accuracy of every learner in evaluation mode, and how sharp the loss is in the architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.seeds import seed_of
from ..data.upload import upload
from ..nets.supernet import draw_seeds
from ..sgl.curvature import hessian_eigenvalue
from ..sgl.search import Search
from ..sgl.step_inputs import mix_seeds
from ..sgl.virtual_learners import VirtualLearners, one_hot


def validate(
    search: Search, batches: Iterable[tuple[Tensor, Tensor]], before_each: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """validation_loss and validation_accuracy, (K) each, of the weights w with their running statistics; best_learner,
    that of least loss.

    before_each   is called before every batch, and may raise
    """
    epoch = search.epoch_of(max(0, search.steps - 1))  # that the weights were trained in
    K = len(search.w)
    mixed = upload(mix_seeds(K, search.config.seed, search.steps, 2), search.w.device)
    passes = search.passes(search.arch, "w", epoch, mixed)
    loss, correct, count = torch.zeros(K), torch.zeros(K), 0
    draw = torch.Generator().manual_seed(seed_of(search.config.seed, search.steps))
    for x, y in batches:
        before_each()
        seeds = upload(draw_seeds(K, draw), search.w.device) if search.noisy else None
        logits = passes.evaluate(VirtualLearners(range(K), search.w, x, seeds=seeds, learns=False), search.running)
        targets = y.expand(K, -1)
        loss += F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1).cpu()
        correct += (logits.argmax(-1) == targets).sum(1).cpu()
        count += len(y)
    losses, accuracies = (loss / count).tolist(), (correct / count).tolist()
    return {"validation_loss": losses, "validation_accuracy": accuracies, "best_learner": losses.index(min(losses))}


def curvature(search: Search, x: Tensor, y: Tensor) -> list[float]:
    """(K), the largest eigenvalue of the Hessian in A of each learner's loss on images, with their batch statistics."""
    K, number = len(search.w), search.steps
    epoch = search.epoch_of(max(0, number - 1))
    mixed, drawn = (upload(mix_seeds(K, search.config.seed, number, apart), search.w.device) for apart in (2, 3))
    targets = one_hot(y, search.space.num_classes, K, search.w.dtype)
    rows = VirtualLearners(range(K), search.w, x, targets, seeds=drawn, learns=False)
    found: list[float] = hessian_eigenvalue(search.passes(search.arch, "w", epoch, mixed), rows).tolist()
    return found

"""Loss and accuracy of every learner in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from .passes import merge
from .sgl import Search
from .walk import RunningStats


def _logits(search: Search, x: Tensor) -> Tensor:
    """(K, N, J) of the weights w."""
    passes = search.passes(search.arch)
    groups, parts = passes.groups(range(len(search.w))), []
    for group in groups:
        net = search.nets[group[0]]
        running = RunningStats(*(t[group, : net.num_statistics] for t in (search.running.mean, search.running.var)))
        weights, beta = search.w[group, : net.num_weights], passes.options["skip_beta"]
        parts.append(net(weights, search.arch.rows(group), x, training=False, running=running, skip_beta=beta))
    return merge(groups, parts)


@torch.no_grad()
def validate(search: Search, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, list[float]]:
    """validation_loss and validation_accuracy, (K) each, of the weights w with their running statistics."""
    K = len(search.w)
    loss, correct, count = torch.zeros(K), torch.zeros(K), 0
    for x, y in batches:
        logits = _logits(search, x)
        targets = y.expand(K, -1)
        loss += F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(1).cpu()
        correct += (logits.argmax(-1) == targets).sum(1).cpu()
        count += len(y)
    return {"validation_loss": (loss / count).tolist(), "validation_accuracy": (correct / count).tolist()}

"""The first-order search step as the released code runs it: A at the current W, then V, then W on V's pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from sgl_fast import Batch

from .learner import Learner, others, pair_loss


class Released:
    """Images of the batch are shared by all learners."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners, self.config = list(learners), learners[0].config

    def step(self, batch: Batch) -> dict[str, list[float]]:
        """One step: the losses of every learner."""
        return {**self.architectures(batch), **self.preliminary(batch), **self.weights(batch)}

    def architectures(self, batch: Batch) -> dict[str, list[float]]:
        for one in self.learners:
            one.adam.zero_grad()
        losses = [F.cross_entropy(one.logits(one.w, batch.x_val), batch.y_val) for one in self.learners]
        self._backward(losses, 1)
        for one in self.learners:
            one.move_alphas()
        return {"val_loss": [loss.item() for loss in losses]}

    def preliminary(self, batch: Batch) -> dict[str, list[float]]:
        for one in self.learners:
            one.sgd[one.v].zero_grad()
        losses = [F.cross_entropy(one.logits(one.v, batch.x_train), batch.y_train) for one in self.learners]
        self._backward(losses, 1)
        for one in self.learners:
            one.move(one.v)
        return {"train_v_loss": [loss.item() for loss in losses]}

    def weights(self, batch: Batch) -> dict[str, list[float]]:
        labels = [one.pseudo_labels(one.v, batch.x_unlabeled) for one in self.learners]
        for one in self.learners:
            one.sgd[one.w].zero_grad()
        train = [F.cross_entropy(one.logits(one.w, batch.x_train), batch.y_train) for one in self.learners]
        unlabeled = [one.logits(one.w, batch.x_unlabeled) for one in self.learners]
        pseudo = [pair_loss(logits, others(labels, k)) for k, logits in enumerate(unlabeled)]
        self._backward([a + self.config.lam * b for a, b in zip(train, pseudo, strict=True)], 2)
        for one in self.learners:
            one.move(one.w)
        return {"train_loss": [loss.item() for loss in train], "pseudo_loss": [loss.item() for loss in pseudo]}

    def _backward(self, losses: list[torch.Tensor], passes: int) -> None:
        """One backward through the graphs of all learners, `passes` of each."""
        torch.stack(losses).sum().backward()
        for one in self.learners:
            one.backwards += passes

"""Supernets that compute some operations only: GDAS and its kin, by hard weights, indices or plain numbers."""

from __future__ import annotations

import torch
from foreign_darts import Cell, MixedOp, Network, cell_of


class NonZeroOp(MixedOp):
    """An operation of weight 0 is not computed, so its batch norms see nothing and its weight gets no gradient."""

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True) if w != 0)


class BoundedOp(MixedOp):
    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True) if abs(w) > 1e-8)


class PositiveOp(MixedOp):
    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True) if w > 0)


class LargestOp(MixedOp):
    def forward(self, x, weights):
        index = weights.argmax().item()
        return weights[index] * self._ops[index](x)


class NamedOp(MixedOp):
    def forward(self, x, weights, index):
        return self._ops[index](x) * weights[index]


class NumberedOp(MixedOp):
    def forward(self, x, weights, numbers):
        parts = [weights[i] * self._ops[i](x) for i, number in enumerate(numbers) if abs(number) > 1e-10]
        assert parts, "nothing is computed"
        return parts[0] if len(parts) == 1 else sum(parts)


class SamplingCell(Cell):
    def sample(self, s0, s1, weights, beside):
        """beside: what each edge's mixed op takes beside its row of weights, of `BESIDE`."""
        states, offset = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(self._steps):
            total = 0
            for j, h in enumerate(states):
                which = beside[offset + j]
                which = which.item() if isinstance(which, torch.Tensor) else which
                total = total + self._ops[offset + j](h, weights[offset + j], which)
            offset += len(states)
            states.append(total)
        return torch.cat(states[-self._multiplier :], dim=1)


# what a mixed op gets beside the weights, from those of all edges (E, O)
BESIDE = {"named": lambda hard: hard.argmax(-1), "numbers": lambda hard: hard.tolist()}


class SampledNetwork(Network):
    """choices (E,): the operation of each edge; weights one-hot for the values, a softmax for gradients."""

    def __init__(self, mixed_op, beside=None, **sizes):
        super().__init__(make_cell=cell_of(mixed_op, SamplingCell), **sizes)
        self.beside, self.choices = beside, None

    def weights_of(self, alphas):
        probs = alphas.softmax(-1)
        if self.choices is None:
            return probs
        return torch.zeros_like(probs).scatter(-1, self.choices[:, None], 1.0) - probs.detach() + probs

    def forward(self, images):
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            weights = self.weights_of(self.alphas_reduce if cell.reduction else self.alphas_normal)
            if self.beside is None:
                s0, s1 = s1, cell(s0, s1, weights)
            else:
                s0, s1 = s1, cell.sample(s0, s1, weights, BESIDE[self.beside](weights.detach()))
        return self.classifier(s1.mean((2, 3)))

"""The family's architect, written from DARTS' equations: one step of the architecture parameters of any supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..dropin.compute import frozen
from ..dropin.install import report
from ..reference.pattern import Pattern
from .kept import Kept, assign
from .methods import METHODS, radius_of

ARGUMENTS = ("momentum", "weight_decay", "arch_learning_rate", "arch_weight_decay")
Loss = Callable[..., Tensor]
Tensors = list[Tensor] | tuple[Tensor, ...]


class Architect:
    """Steps of the architecture parameters, of plain and of accelerated models alike.

    model            its weights are its parameters that want gradients, but for those of the architecture
    args             momentum and weight_decay of the weights' SGD; arch_learning_rate and arch_weight_decay
    optimizer        of the architecture parameters; None: Adam
    loss             of logits, the first of a tuple, and targets; None: model._loss(images, targets), else by the
                     model's _criterion, else cross-entropy
    betas            of Adam
    arch_parameters  None: model.arch_parameters()

    >>> optimizer = torch.optim.SGD(model.parameters(), 0.025, momentum=0.9)
    >>> architect = Architect.like(model, arch_parameters=[model.alphas_normal, model.alphas_reduce])
    >>> images, labels = torch.rand(2, 4, 3, 8, 8), torch.randint(10, (2, 4))
    >>> architect.step(images[0], labels[0], images[1], labels[1], eta=0.025, network_optimizer=optimizer)

    TypeError for what is no nn.Module or averages its gradients in backward() alone; ValueError where arguments or
    architecture parameters are missing.
    """

    def __init__(
        self,
        model: nn.Module,
        args: Any,
        optimizer: torch.optim.Optimizer | None = None,
        loss: Loss | None = None,
        betas: tuple[float, float] = (0.5, 0.999),
        arch_parameters: Iterable[Tensor] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module) or isinstance(model, DistributedDataParallel):
            raise TypeError(f"need an nn.Module of one process; got {type(model).__name__}")
        if missing := [name for name in ARGUMENTS if not hasattr(args, name)]:
            raise ValueError(f"need args with {', '.join(ARGUMENTS)}; got none with {missing[0]}")
        own: Any = model.module if isinstance(model, nn.DataParallel) else model
        if arch_parameters is None and hasattr(own, "arch_parameters"):
            arch_parameters = own.arch_parameters()
        self.parameters = list(arch_parameters or ())
        if not self.parameters:
            raise ValueError(f"need arch_parameters=...: {type(own).__name__} has no arch_parameters() or an empty one")
        self.model, self.momentum, self.weight_decay = model, args.momentum, args.weight_decay
        self.criterion: Any = loss or getattr(own, "_criterion", None) or getattr(own, "criterion", F.cross_entropy)
        self.loss: Any = self._loss_of_logits if loss else getattr(model, "_loss", self._loss_of_logits)
        self.optimizer = optimizer or torch.optim.Adam(
            self.parameters, args.arch_learning_rate, betas, weight_decay=args.arch_weight_decay
        )

    @classmethod
    def like(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        loss: Loss | None = None,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 1e-3,
        momentum: float = 0.9,
        weights_decay: float = 3e-4,
        arch_parameters: Iterable[Tensor] | None = None,
    ) -> Architect:
        """An Architect without `args`: model, optimizer, loss and arch_parameters as there.

        lr, betas, weight_decay    of Adam
        momentum, weights_decay    of the weights' SGD, weights_decay its weight decay
        """
        args = SimpleNamespace(momentum=momentum, weight_decay=weights_decay)
        args.arch_learning_rate, args.arch_weight_decay = lr, weight_decay
        return cls(model, args, optimizer, loss, betas, arch_parameters)

    def step(
        self,
        input_train: Any,
        target_train: Any,
        input_valid: Any,
        target_valid: Any,
        eta: float,
        network_optimizer: torch.optim.Optimizer | None = None,
        unrolled: bool = False,
        method: str = "finite_difference",
    ) -> None:
        """One step of the optimizer, by a gradient that stays in .grad of the architecture parameters.

        input_train, target_train, input_valid, target_valid   two batches, as the model and the loss take them
        eta       learning rate of the weights: that of the inner step
        unrolled  False: that of the validation loss at the weights w. True: that at w' = w - eta * (gradient of the
                  training loss + weight decay * w + momentum * buffer of network_optimizer), less eta times the mixed
                  second derivative of the training loss, applied to v, the gradient of the weights at w' (eq 7)
        method    of that product: finite_difference between w + and w - 0.01 v / ||v|| (eq 8); frozen, the same with
                  0.001 and the activation pattern of the pass at w replayed, so that it is the derivative up to some
                  1e-3, for models whose cells are all accelerated; exact, by autograd, slowly

        The weights come back to the bit; their .grad stay as they were, where the family's first order adds to them.
        Running statistics end as in the family, where w' belongs to a copy of the model: moved by the validation batch
        in first order, else by the training batch at w, w + and w - (exact: twice at w). After an error weights,
        gradients and statistics are as before. ValueError for another method, a missing network_optimizer, or
        method frozen where an original answered.
        """
        if method not in METHODS:
            raise ValueError(f"need a method out of {', '.join(METHODS)}; got {method!r}")
        if unrolled and network_optimizer is None:
            raise ValueError("need the network_optimizer, whose momentum is unrolled; got None")
        valid, statistics = partial(self.loss, input_valid, target_valid), Kept(self.model.buffers())
        try:
            with torch.enable_grad():
                if unrolled:
                    train = partial(self.loss, input_train, target_train)
                    grads: Sequence[Tensor | None] = self._unrolled(train, valid, eta, network_optimizer, method)
                else:
                    grads = torch.autograd.grad(valid(), self.parameters, allow_unused=True)
        except BaseException:
            statistics.put_back()
            raise
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        self.optimizer.step()

    def _unrolled(self, train: Loss, valid: Loss, eta: float, optimizer: Any, method: str) -> Tensors:
        """The gradient of eq 7."""
        own = {id(p) for p in self.parameters}
        weights: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]
        kept, pattern, originals = Kept(weights), Pattern() if method == "frozen" else None, self._originals()
        try:
            with frozen(pattern):
                first = train()
            if method == "frozen" and self._originals() != max(originals, 0):
                raise ValueError(f"need every cell accelerated for method 'frozen'; got\n{report(self.model)}")
            moves = torch._foreach_add(gradients(first, weights), kept.values, alpha=self.weight_decay)
            for move, weight in zip(moves, weights, strict=True):
                if (buffer := optimizer.state.get(weight, {}).get("momentum_buffer")) is not None:
                    move.add_(buffer, alpha=self.momentum)
            assign(weights, torch._foreach_sub(kept.values, moves, alpha=eta))
            statistics = Kept(self.model.buffers())
            both = gradients(valid(), [*self.parameters, *weights])
            statistics.put_back()
            direct, v = both[: len(self.parameters)], both[len(self.parameters) :]
            kept.put_back()
            exact = method == "exact"
            mixed = self._exact(train, weights, v) if exact else self._difference(train, kept, v, method, pattern)
        finally:
            kept.put_back()
        return torch._foreach_sub(direct, mixed, alpha=eta)

    def _originals(self) -> int:
        """Calls that no fused cell answered; -1 without one that could."""
        found = report(self.model)
        return sum(cell.originals for cell in found) if found.accelerated == len(found) > 0 else -1

    def _difference(self, train: Loss, weights: Kept, v: Tensors, method: str, pattern: Pattern | None) -> Tensors:
        """The mixed derivative applied to v by eq 8."""
        epsilon = radius_of(method, "float32") / (float(torch.nn.utils.get_total_norm(v)) or 1.0)
        sides = []
        for sign in (1, -1):
            assign(weights.tensors, torch._foreach_add(weights.values, v, alpha=sign * epsilon))
            with frozen(pattern):
                loss = train()
            sides.append(gradients(loss, self.parameters))
        return torch._foreach_div(torch._foreach_sub(*sides), 2 * epsilon)

    def _exact(self, train: Loss, weights: Tensors, v: Tensors) -> Tensors:
        inner = torch.autograd.grad(train(), weights, create_graph=True, allow_unused=True)
        along_v = [(grad * u).sum() for grad, u in zip(inner, v, strict=True) if grad is not None]
        return gradients(torch.stack(along_v).sum(), self.parameters)

    def _loss_of_logits(self, images: Any, targets: Any) -> Tensor:
        logits = self.model(images)
        out: Tensor = self.criterion(logits[0] if isinstance(logits, tuple) else logits, targets)
        return out


def gradients(loss: Tensor, inputs: Tensors) -> Tensors:
    """Zeros for what the loss does not depend on."""
    return torch.autograd.grad(loss, inputs, materialize_grads=True)

"""K models of one structure in one pass: their cells meet as virtual learners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .install import REPORT, accelerate
from .patched import KEY, Accelerated
from .turns import together


class Stack(nn.Module):
    """stack(images) -> (K, N, J), differentiable in every model's own parameters.

    images (N, 3, H, W) shared by all, or (K, N, 3, H, W)
    more   further arguments of the models' forward, each a sequence of K
    A model that returns a tuple makes a tuple of stacked ones.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor, *more: Sequence[Any]) -> Any:
        K = len(self.models)
        if images.dim() not in (4, 5) or (images.dim() == 5 and images.shape[0] != K):
            raise ValueError(f"need images (N, 3, H, W) or ({K}, N, 3, H, W); got {tuple(images.shape)}")
        if any(len(values) != K for values in more):
            raise ValueError(f"need {K} of each further argument; got {[len(values) for values in more]}")
        inputs = images if images.dim() == 5 else [images] * K
        calls = zip(self.models, inputs, *more, strict=True)
        results = together([partial(model, *arguments) for model, *arguments in calls])
        return tree_map(stacked, *results)


def stacked(*parts: Any) -> Any:
    return torch.stack(parts) if isinstance(parts[0], Tensor) else list(parts)


def stack(models: Sequence[nn.Module]) -> Stack:
    """The models as one of K; each is accelerated if it is not yet. ValueError that names how two of them differ.

    >>> both = stack([model, other])
    >>> both(torch.rand(4, 3, 8, 8)).shape
    torch.Size([2, 4, 10])
    """
    models = list(models)
    if not models or len({id(m) for m in models}) != len(models):
        raise ValueError(f"need one or more different models; got {len(models)}, some of them the same")
    for model in models:
        if not isinstance(model, nn.Module) or REPORT not in model.__dict__:
            accelerate(model)
    for k, model in enumerate(models[1:], 1):
        if differs := difference(models[0], model):
            raise ValueError(f"need models of one structure; model {k} differs from model 0: {differs}")
    return Stack(models)


def difference(first: nn.Module, other: nn.Module) -> str | None:
    """How two models differ: the shape of a tensor, or the operations of an edge that is accelerated in both."""
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in (first, other)]
    for name in [*shapes[0], *shapes[1]]:
        ours, theirs = (one.get(name, "not there") for one in shapes)
        if ours != theirs:
            return f"{name} {theirs}, not {ours}"
    edges = [edges_of_cells(model) for model in (first, other)]
    for path in [path for path in edges[0] if path in edges[1]]:
        if edges[0][path] != edges[1][path]:
            return f"{path} has {edges[1][path]}, not {edges[0][path]}"
    return None


def edges_of_cells(model: nn.Module) -> dict[str, list[str]]:
    """The operations of every edge of the accelerated cells, by its path."""
    cells = [(name, m.__dict__[KEY].match) for name, m in model.named_modules() if isinstance(m, Accelerated)]
    return {
        f"{name}.{edge.path}": [f"{c.op} (stride {c.stride})" for c in edge.candidates]
        for name, match in cells
        for edge in match.edges
    }

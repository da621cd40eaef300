"""Parameters and multiply-adds of a network, by named rules. Nothing is computed: the pass runs on meta tensors."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

Rule = Literal["conv", "conv_linear", "conv_linear_2bn_relu"]
RULES: tuple[Rule, ...] = get_args(Rule)


def count_parameters(model: nn.Module, auxiliary: bool = False) -> int:
    """Entries of all parameters; the auxiliary head's, which serves training alone, only if `auxiliary`."""
    return sum(p.numel() for name, p in model.named_parameters() if auxiliary or not name.startswith("auxiliary."))


def count_macs(model: nn.Module, image_size: int | tuple[int, int] = 32, rule: Rule = "conv_linear") -> int:
    """Multiply-adds of one image of that size, a side or (H, W) in pixels, in evaluation.

    conv                   convolutions
    conv_linear            and fully connected layers
    conv_linear_2bn_relu   and 2 for every element out of a batch norm, 1 for every element out of a ReLU: the rule
                           behind the published 557M, 586M and 597M of P-DARTS and PC-DARTS
    Pools, sums and biases count nothing. The model, its device and its mode stay as they are.
    """
    if rule not in RULES:
        raise ValueError(f"need a counting rule out of {', '.join(RULES)}; got {rule!r}")
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += macs_of(module, output, rule)

    modes = {module: module.training for module in model.modules()}
    hooks = [module.register_forward_hook(add) for module in modes]
    try:
        model.eval()
        shapes = {name: t.to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
        sides = image_size if isinstance(image_size, tuple) else (int(image_size),) * 2
        dtype = next(model.parameters()).dtype
        with torch.no_grad():
            functional_call(model, shapes, torch.empty(1, 3, *sides, dtype=dtype, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return total


def macs_of(module: nn.Module, output: Tensor, rule: Rule) -> int:
    """What one module adds, given its output for one image."""
    if isinstance(module, nn.Conv2d):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear) and rule != "conv":
        return output.numel() * module.in_features
    if rule == "conv_linear_2bn_relu":
        if isinstance(module, nn.BatchNorm2d):
            return 2 * output.numel()
        if isinstance(module, nn.ReLU):
            return output.numel()
    return 0

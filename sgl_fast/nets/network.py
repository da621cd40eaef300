"""What a genotype denotes: a network to train from scratch, an ordinary nn.Module (DARTS's evaluation network)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..genotype.genotype import Genotype
from ..spaces._space import check_size, reductions_of
from .primitives import OPS, FactorizedReduce, relu_conv_bn


class Network(nn.Module):
    """Stem, `layers` cells of which those at layers // 3 and 2 * layers // 3 are reductions, average pool, classifier.

    genotype             the two cells
    channels             C of the first cells; it doubles at every reduction
    auxiliary            a second classifier on the cell at 2 * layers // 3; in training the output is then (logits,
                         auxiliary logits), otherwise it is logits alone, each (N, num_classes)
    imagenet             the stem for 224 pixels: three convolutions of stride 2 in place of one of stride 1
    drop_path            probability that an op's output is dropped, per image, in training; assign it at every epoch,
                         by this name or as drop_path_prob, the original code's
    auxiliary_second_bn  False gives the ImageNet head of DARTS and PC-DARTS, which has a single batch norm
    Images (N, 3, H, W): H and W even at each reduction. Parameters come in the order of their first use.

    >>> model = Network(genotypes.PC_DARTS_cifar, channels=4, layers=3, auxiliary=False)
    >>> model(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int = 36,
        layers: int = 20,
        num_classes: int = 10,
        auxiliary: bool = True,
        imagenet: bool = False,
        drop_path: float = 0.0,
        auxiliary_second_bn: bool = True,
    ) -> None:
        super().__init__()
        self._rate: Tensor
        self.about: dict[str, Any] = {}  # of a trained one
        channels, layers, num_classes = checked_sizes(channels, layers, num_classes, imagenet)
        self.register_buffer("_rate", torch.zeros(()), persistent=False)
        self.drop_path = drop_path
        reductions = reductions_of(layers)
        self.auxiliary_cell = max(reductions)
        if imagenet:
            self.stem0, self.stem1 = imagenet_stems(channels)
            c_before, c_last = channels, channels
        else:
            self.stem = cifar_stem(3 * channels)
            c_before, c_last = 3 * channels, 3 * channels
        self.imagenet = imagenet
        self.cells = nn.ModuleList()
        c, reduced, c_auxiliary = channels, imagenet, 0
        for index in range(layers):
            reduction = index in reductions
            c = 2 * c if reduction else c
            cell = Cell(genotype, c_before, c_last, c, reduction, reduced)
            self.cells.append(cell)
            c_before, c_last, reduced = c_last, cell.c_out, reduction
            if index == self.auxiliary_cell:
                c_auxiliary = c_last
        self.auxiliary = (
            AuxiliaryHead(c_auxiliary, num_classes, 2 if imagenet else 3, auxiliary_second_bn) if auxiliary else None
        )
        self.classifier: nn.Module = nn.Linear(c_last, num_classes)

    @property
    def drop_path(self) -> float:
        """Probability that an op's output is dropped, per image, in training; from 0 to below 1."""
        return self._drop_path

    @drop_path.setter
    def drop_path(self, probability: float) -> None:
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"need a drop_path probability from 0 to below 1; got {probability}")
        self._drop_path, self._drops = probability, probability > 0.0
        self._rate.fill_(probability)

    drop_path_prob = drop_path

    def __setattr__(self, name: str, value: Any) -> None:
        """As any Module's; a rate by a name that does not act here is an AttributeError, not a value without effect."""
        known = name in ("drop_path", "drop_path_prob", "_drop_path", "_drops")
        if "drop" in name.lower() and isinstance(value, (int, float)) and not known:
            raise AttributeError(f"Network has no {name}: drop_path is the probability that an op's output is dropped")
        super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (N, num_classes) of images (N, 3, H, W); with an auxiliary head, in training, its logits, too."""
        if self.auxiliary is None or not self.training:
            return self.classify(self.features(images)[0])
        last, (middle,) = self.features(images, [self.auxiliary_cell])
        return self.classify(last), self.auxiliary(middle)

    def features(self, images: Tensor, keep: Collection[int] = ()) -> tuple[Tensor, list[Tensor]]:
        """The last cell's output (N, C, h, w) of images (N, 3, H, W), and those of the cells in `keep`."""
        if self.imagenet:
            before = self.stem0(images)
            last = self.stem1(before)
        else:
            before = last = self.stem(images)
        probability = self._probability() if self.training and self._drops else None
        kept = []
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last, probability)
            if index in keep:
                kept.append(last)
        return last, kept

    def classify(self, last: Tensor) -> Tensor:
        """Logits (N, num_classes) of the last cell's output."""
        logits: Tensor = self.classifier(self.pooled(last))
        return logits

    def pooled(self, last: Tensor) -> Tensor:
        """What the classifier reads (N, C): means over the pixels of the last cell's output."""
        return functional.adaptive_avg_pool2d(last, 1).flatten(1)

    def _probability(self) -> float | Tensor:
        """drop_path; a compiled program reads it anew at every call, and so is one for all rates."""
        return self._rate if torch.compiler.is_compiling() else self._drop_path


class Cell(nn.Module):
    """Two earlier outputs (N, C0, H, W), (N, C1, H, W) -> (N, c_out, H, W), or H / 2, W / 2 in a reduction cell.

    reduction_before   the cell before was a reduction, so that the first input is still twice as high and wide
    """

    def __init__(
        self, genotype: Genotype, c_before: int, c_last: int, channels: int, reduction: bool, reduction_before: bool
    ) -> None:
        super().__init__()
        edges = genotype.reduce if reduction else genotype.normal
        self.concat = tuple(genotype.reduce_concat if reduction else genotype.normal_concat)
        self.sources = tuple(source for _, source in edges)
        self.c_out = len(self.concat) * channels
        fit = FactorizedReduce if reduction_before else relu_conv_bn
        self.preprocess0 = fit(c_before, channels)
        self.preprocess1 = relu_conv_bn(c_last, channels)
        self.ops = nn.ModuleList(OPS[op](channels, 2 if reduction and source < 2 else 1) for op, source in edges)

    def forward(self, before: Tensor, last: Tensor, drop_path: float | Tensor | None = None) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        for edge in range(0, len(self.sources), 2):
            states.append(self.edge(edge, states, drop_path) + self.edge(edge + 1, states, drop_path))
        return torch.cat([states[state] for state in self.concat], dim=1)

    def edge(self, edge: int, states: list[Tensor], drop_path: float | Tensor | None) -> Tensor:
        op = self.ops[edge]
        out: Tensor = op(states[self.sources[edge]])
        return out if drop_path is None or isinstance(op, nn.Identity) else drop_images(out, drop_path)


class AuxiliaryHead(nn.Module):
    """Logits from a map half-way up: 8 x 8 on CIFAR (stride 3), 7 x 7 on ImageNet (stride 2), both pooled to 2 x 2.

    Maps of another size are pooled to 2 x 2 as well.
    """

    def __init__(self, channels: int, num_classes: int, stride: int, second_bn: bool) -> None:
        super().__init__()
        self.stride = stride
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([nn.BatchNorm2d(768)] if second_bn else []),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        published = 5 + self.stride
        if x.shape[2:] == (published, published):
            x = functional.avg_pool2d(x, 5, self.stride)
        else:
            x = functional.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def cifar_stem(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def imagenet_stems(channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """(N, 3, H, W) -> (N, C, H / 4, W / 4), and from there to (N, C, H / 8, W / 8)."""

    def halve(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out)]

    stem0 = nn.Sequential(*halve(3, channels // 2), nn.ReLU(), *halve(channels // 2, channels))
    return stem0, nn.Sequential(nn.ReLU(), *halve(channels, channels))


def drop_images(x: Tensor, probability: float | Tensor) -> Tensor:
    """Zeroes whole images with that probability and divides the others by the probability of being kept."""
    keep = 1.0 - probability
    if isinstance(keep, Tensor):
        mask = torch.rand(len(x), 1, 1, 1, device=x.device) < keep
        return x * (mask / keep).to(x.dtype)
    mask = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
    return x * (mask / keep)


def checked_sizes(channels: int, layers: int, num_classes: int, imagenet: bool) -> list[int]:
    """The sizes as ints; ValueError for those that no network has."""
    sizes = {"channels": channels, "layers": layers, "num_classes": num_classes}
    checked = [check_size(name, value) for name, value in sizes.items()]
    if imagenet and checked[0] % 2:
        raise ValueError(f"the ImageNet stem halves the channels: need an even number; got {channels}")
    return checked

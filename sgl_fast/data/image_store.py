"""Images too large for memory: files that are decoded when a batch asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .color_jitter import jitter
from .decode import decode_all

_TRIES = 10
Colors = Tensor | None


class ImageStore:
    """M image files that read like a uint8 tensor [M, 3, S, S] indexed by a tensor of positions.

    `store[index]` is the evaluation view: shorter side to S * 256 / 224, then the centre. `random_crops` is the
    training view: a random area of 8% to 100% and aspect ratio of 3/4 to 4/3, resized to S.
    """

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = tuple(paths), size

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), 3, self.size, self.size))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """uint8 [N, 3, S, S] at int64 positions [N]."""
        return self._decode(index, [partial(_centre, size=self.size)] * len(index))

    def select(self, positions: Tensor) -> ImageStore:
        """The images at int64 positions [N], undecoded."""
        return ImageStore([self.paths[i] for i in positions.tolist()], self.size)

    def random_crops(self, index: Tensor, generator: torch.Generator, part: slice, colors: Colors = None) -> Tensor:
        """uint8 [n, 3, S, S] at a part of int64 positions [N], each a random window drawn from a generator on the CPU.

        The windows of all N are drawn, whatever the part.
        colors   a row of `color_jitter.draw` for each of the part
        """
        draws = torch.rand(len(index), _TRIES, 4, generator=generator, dtype=torch.float64)[part].tolist()
        rows = [None] * len(draws) if colors is None else colors.tolist()
        shapes = [partial(_window, size=self.size, draws=d, colors=c) for d, c in zip(draws, rows, strict=True)]
        return self._decode(index[part], shapes)

    def _decode(self, index: Tensor, shapes: Sequence[Callable[[Image.Image], Image.Image]]) -> Tensor:
        return torch.stack(decode_all([self.paths[i] for i in index.tolist()], shapes))


def crop_box(width: int, height: int, draws: Sequence[Sequence[float]]) -> tuple[int, int, int, int]:
    """The first drawn window (left, top, right, bottom) that fits in the image.

    draws   a row each try: area, aspect ratio, left and top, each 0 to 1. Where no try fits: the largest centred
            window with a ratio from 3/4 to 4/3.
    """
    for area, ratio, left, top in draws:
        pixels = width * height * (0.08 + 0.92 * area)
        aspect = math.exp((2 * ratio - 1) * math.log(4 / 3))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def _window(
    image: Image.Image, size: int, draws: Sequence[Sequence[float]], colors: Sequence[float] | None
) -> Image.Image:
    box = crop_box(image.width, image.height, draws)
    window = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    return window if colors is None else jitter(window, colors)


def _centre(image: Image.Image, size: int) -> Image.Image:
    """The central square that is 224/256 of the shorter side, resized to size x size."""
    side = max(1, round(min(image.size) * 224 / 256))
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BILINEAR)

"""Images too large for memory: files that are decoded when a batch asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import ImageError, one_line
from .color_jitter import jitter
from .decode import decode_all

_TRIES = 10
Colors = Tensor | None


class ImageStore:
    """M image files that read like a uint8 tensor [M, 3, H, W] indexed by a tensor of positions."""

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = tuple(paths), size

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), 3, *self.size))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] at int64 positions [N]."""
        raise NotImplementedError

    def of(self, paths: Sequence[Path]) -> ImageStore:
        """Other files, read in the same way."""
        raise NotImplementedError

    def select(self, positions: Tensor) -> ImageStore:
        """The images at int64 positions [N], undecoded."""
        return self.of([self.paths[i] for i in positions.tolist()])

    def _decode(self, index: Tensor, shapes: Sequence[Callable[[Image.Image], Image.Image]]) -> list[Tensor]:
        return decode_all([self.paths[i] for i in index.tolist()], shapes)


class FittedStore(ImageStore):
    """Images of a folder, as they would be in memory.

    sample   the file whose size they all have; None: each is resized by `fit`
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], sample: Path | None = None) -> None:
        super().__init__(paths, size)
        self.sample = sample

    def __getitem__(self, index: Tensor) -> Tensor:
        images = self._decode(index, [self._shape] * len(index))
        for i, image in zip(index.tolist(), images, strict=True):
            if image.shape[1:] != self.size:
                check_like(self.paths[i], (image.shape[1], image.shape[2]), self.sample, self.size)
        return torch.stack(images)

    def of(self, paths: Sequence[Path]) -> FittedStore:
        return FittedStore(paths, self.size, self.sample)

    def _shape(self, image: Image.Image) -> Image.Image:
        return fit(image, self.size) if self.sample is None else image


class WindowStore(ImageStore):
    """Images of ImageNet, of any size, as squares of S x S.

    `store[index]` is the evaluation view: shorter side to S * 256 / 224, then the centre. For training a random area of
    8% to 100% and aspect ratio of 3/4 to 4/3 is resized to S.
    """

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        super().__init__(paths, (side, side))

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack(self._decode(index, [partial(_centre, size=self.size[0])] * len(index)))

    def of(self, paths: Sequence[Path]) -> WindowStore:
        return WindowStore(paths, self.size[0])

    def random_crops(self, index: Tensor, generator: torch.Generator, part: slice, colors: Colors = None) -> Tensor:
        """uint8 [n, 3, S, S] at a part of int64 positions [N], each a random window drawn from a generator on the CPU.

        The windows of all N are drawn, whatever the part.
        colors   a row of `color_jitter.draw` for each of the part
        """
        draws = torch.rand(len(index), _TRIES, 4, generator=generator, dtype=torch.float64)[part].tolist()
        rows = [None] * len(draws) if colors is None else colors.tolist()
        side = self.size[0]
        shapes = [partial(_window, size=side, draws=d, colors=c) for d, c in zip(draws, rows, strict=True)]
        return torch.stack(self._decode(index[part], shapes))


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred window of an RGB image with the aspect ratio of size (H, W), resized to it."""
    height, width = size
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def check_like(path: Path, size: tuple[int, int], sample: Path | None, need: tuple[int, int]) -> None:
    """ImageError where an image (H, W) has not the size of the sample."""
    if size != need:
        has = f"{sample.name if sample else 'the first'} has {need[0]}x{need[1]}"
        text = f"{path}: {size[0]}x{size[1]} pixels, {has}; an image size (image_size) makes them equal"
        raise ImageError(one_line(text))


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

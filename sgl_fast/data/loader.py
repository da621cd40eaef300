"""Batches as a pure function of (seed, step): a run that resumes at a step sees what it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..ops.augment import augment
from . import color_jitter
from .augment import draw, levels, normalize, table
from .batch import Batch
from .dataset import Dataset, Images
from .image_store import ImageStore, WindowStore
from .seeds import seed_of, shuffled
from .upload import upload

T = TypeVar("T")
_ROLES = ("train", "unlabeled", "val")
# What a hash is for, so that a shuffle and the augmentation of the same step never share a seed.
_SHUFFLE, _AUGMENT, _COLORS = 0, 1, 2


class Feed:
    """Augmented batches of a data set on a device.

    Images in memory are moved to the device once, as uint8, and augmented there. Every role goes through its set in
    passes: each pass is a fresh permutation, its last incomplete batch dropped. A pass of the training set is an
    epoch; the other roles' passes may be shorter or longer.

    learners        K: every learner gets its own training and validation images, [K, N, ...], from passes of its own;
                    those without labels are shared, since a pseudo-label is of the image that the others learn from.
                    None: all share one batch, learner 0's
    crop, cutout    padding of the random crop, side of the cutout square, in pixels, 0 for none
    color_jitter    strength of random changes of the colours of training images, 0 for none
    part            (d, D): of every batch only the images of process d out of D that share it
    limit           use only the first so many images of each role (tiny runs); the test set stays whole
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        learners: int | None = None,
        crop: int = 4,
        flip: bool = True,
        cutout: int = 0,
        color_jitter: float = 0.0,
        limit: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.dtype, self.learners = dtype, learners
        self.crop, self.flip, self.cutout, self.color_jitter = crop, flip, cutout, color_jitter
        images = {"train": dataset.train[0], "unlabeled": dataset.unlabeled, "val": dataset.val[0]}
        self._size = {role: len(x) if limit is None else min(limit, len(x)) for role, x in images.items()}
        for role, size in self._size.items():
            if not 1 <= batch_size <= size:
                raise ValueError(f"batch size {batch_size}: need 1 to {size}, the {role} images of {dataset.name}")
        self._labels = {"train": dataset.train[1].to(device), "val": dataset.val[1].to(device)}
        size = batch_size // part[1]
        self._part = slice(part[0] * size, (part[0] + 1) * size)
        # With its index: in another thread a bare "cuda" may be another device.
        self.device = self._labels["train"].device
        # Roles that share their images on the CPU share them on the device.
        moved = {id(x): _move(x, self.device) for x in images.values()}
        self._images = {role: moved[id(x)] for role, x in images.items()}
        self._levels = levels(dataset.mean, dataset.std, dtype, self.device)
        self._orders: dict[tuple[str, int], tuple[int, Tensor]] = {}
        lazy = not all(isinstance(x, Tensor) for x in images.values())
        self._decoder = ThreadPoolExecutor(1) if lazy else None
        self._begun: dict[str, tuple[int, Future[Any]]] = {}  # by what it is for: which one, and its making

    @property
    def steps_per_epoch(self) -> int:
        return self._size["train"] // self.batch_size

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over the whole run."""
        return self._ahead("batch", step, step + 1, self._make)

    def labeled(self, role: str, step: int) -> tuple[Tensor, Tensor]:
        """(x, y) of one role alone, "train" or "val", as in `batch(step)`."""
        return self._ahead(role, step, step + 1, lambda step: self._labeled(role, step))

    def unlabeled(self, step: int) -> Tensor:
        """x of the images without labels alone, as in `batch(step)`."""
        return self._draw("unlabeled", step, None)[0]

    def evaluation(
        self, split: str, batch_size: int, part: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(x, y) batches of all of "val" or "test", in order, only normalised; the last may be smaller.

        part   (d, D): every D-th batch, from d on
        """
        images, labels = {"val": (self._images["val"], self._labels["val"]), "test": self.dataset.test}[split]
        size = self._size["val"] if split == "val" else len(images)

        def read(start: int) -> Tensor:
            return images[torch.arange(start, min(start + batch_size, size), device=images.device)]

        for start in (starts := range(part[0] * batch_size, size, part[1] * batch_size)):
            after = start + starts.step if start != starts[-1] else None
            x = self._ahead(f"evaluation {split} {batch_size}", start, after, read).to(self.device, non_blocking=True)
            y = labels[start : start + len(x)].to(self.device, non_blocking=True)
            yield normalize(x, self.dataset.mean, self.dataset.std, self.dtype), y

    def validation(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`evaluation("val", batch_size)`."""
        return self.evaluation("val", batch_size)

    def _ahead(self, what: str, now: int, after: int | None, make: Callable[[int], T]) -> T:
        """make(now). Where files must be decoded, make(after) is begun in a thread: a pure function can't differ."""
        if self._decoder is None:
            return make(now)
        number, begun = self._begun.pop(what, (None, None))
        made: T = begun.result() if begun is not None and number == now else make(now)
        if after is not None:
            self._begun[what] = after, self._decoder.submit(make, after)
        return made

    def _make(self, step: int) -> Batch:
        x_train, y_train = self._labeled("train", step)
        x_val, y_val = self._labeled("val", step)
        return Batch(x_train, y_train, self.unlabeled(step), x_val, y_val)

    def _labeled(self, role: str, step: int) -> tuple[Tensor, Tensor]:
        x, index = self._draw(role, step, self.learners)
        return x, self._labels[role][index]

    def _draw(self, role: str, step: int, learners: int | None) -> tuple[Tensor, Tensor]:
        """(images, their indices) of a role on the device: [N, 3, H, W], [N], or of each of so many learners."""
        decoded, tables = zip(*(self._draw_one(role, step, k) for k in range(learners or 1)), strict=True)
        draws = upload(torch.cat(tables), self.device)
        images, index, crop = self._images[role], draws[:, 0], self.crop
        if (own := [x for x in decoded if x is not None]) or not isinstance(images, Tensor):
            crop = 0 if isinstance(images, WindowStore) else crop
            images = upload(torch.cat(own), self.device)
            draws = torch.column_stack([torch.arange(len(images), device=self.device), draws[:, 1:]])
        x = augment(images, draws, self._levels, crop, self.cutout)
        if learners is None:
            return x, index
        return x.unflatten(0, (learners, -1)), index.unflatten(0, (learners, -1))

    def _draw_one(self, role: str, step: int, learner: int) -> tuple[Tensor | None, Tensor]:
        """A learner's decoded images, None where they are in memory as they are, and its part of the table of draws."""
        batches = self._size[role] // self.batch_size
        start = step % batches * self.batch_size
        index = self._order(role, step // batches, learner)[start : start + self.batch_size]
        generator = torch.Generator().manual_seed(seed_of(self.seed, _AUGMENT, step, _ROLES.index(role), learner))
        images, colors = self._images[role], self._colors(role, step, learner)
        decoded, crop = None, self.crop
        if isinstance(images, WindowStore):
            decoded, crop = images.random_crops(index, generator, self._part, colors), 0
        elif colors is not None or isinstance(images, ImageStore):
            decoded = images[index[self._part]]
            decoded = decoded if colors is None else color_jitter.jitter_all(decoded, colors)
        H, W = images.shape[2:]
        return decoded, table(index, draw(len(index), H, W, crop, generator), self.flip)[self._part]

    def _colors(self, role: str, step: int, learner: int) -> Tensor | None:
        """This process's rows of `color_jitter.draw`; None where colours stay."""
        if role != "train" or not self.color_jitter:
            return None
        generator = torch.Generator().manual_seed(seed_of(self.seed, _COLORS, step, learner))
        return color_jitter.draw(self.batch_size, self.color_jitter, generator)[self._part]

    def _order(self, role: str, number: int, learner: int) -> Tensor:
        """The permutation of one pass, on the CPU; the current one of each role and learner is kept."""
        kept = self._orders.get((role, learner))
        if kept is None or kept[0] != number:
            order = torch.from_numpy(
                shuffled(self._size[role], self.seed, _SHUFFLE, number, _ROLES.index(role), learner)
            )
            kept = self._orders[role, learner] = (number, order)
        return kept[1]


def _move(images: Images, device: torch.device) -> Images:
    return images.to(device) if isinstance(images, Tensor) else images

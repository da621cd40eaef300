"""Trains the network that a genotype denotes from scratch, on training and validation images together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data import Dataset, Feed
from ..data.dataset import Images
from ..data.image_store import ImageStore
from ..data.seeds import seed_of
from ..genotype.genotype import Genotype
from ..nets.counting import count_macs, count_parameters
from ..nets.network import Network
from ..sgl.state_check import check_count, check_like, own
from .recipe import Recipe

MOMENTUM, CLIP = 0.9, 5.0
_INIT, _STEP, _TEST = 0, 1, 2  # what a seed is for


class Retraining:
    """A network, its optimiser and its batches; `train_step` after `train_step`, `test` when an epoch is over.

    The published recipe: SGD with momentum 0.9, cosine to 0 over the epochs, gradient norm clipped at 5, an auxiliary
    head, drop-path that grows linearly. Every random number is a function of (seed, step), so that a state loaded
    from `state_dict` goes on to the same numbers as if it had never stopped.
    """

    def __init__(self, genotype: Genotype, dataset: Dataset, recipe: Recipe, device: str = "cpu") -> None:
        self.recipe, self.dataset, self.device, self.step = recipe, dataset, torch.device(device), 0
        torch.manual_seed(seed_of(recipe.seed, _INIT))
        self.network = Network(
            genotype,
            recipe.channels,
            recipe.layers,
            dataset.num_classes,
            auxiliary=recipe.auxiliary_weight > 0,
            imagenet=recipe.imagenet,
        ).to(self.device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), recipe.lr, MOMENTUM, weight_decay=recipe.weight_decay
        )
        for p in self.network.parameters():  # as the first step would make it, and part of the state from the start
            self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        self.feed = Feed(
            with_validation(dataset, recipe.limit),
            recipe.batch_size,
            recipe.seed,
            self.device,
            cutout=recipe.cutout,
        )
        self.sums = self._no_sums()
        self.sizes = {
            "parameters": count_parameters(self.network),
            "multiply_adds_conv_linear": count_macs(self.network, dataset.image_size),
        }

    @property
    def note(self) -> str:
        """One line for the user: how large the network is, by which count, and what it learns from."""
        parameters, macs = self.sizes.values()
        sizes = f"{self.recipe.channels} channels, {self.recipe.layers} layers"
        counts = f"{parameters / 1e6:.3f} M parameters, {macs / 1e6:.2f} M multiply-adds (conv_linear)"
        images = [len(labels) for _, labels in (self.feed.dataset.train, self.feed.dataset.test)]
        return f"network: {sizes}; {counts}; trained on {images[0]} images, tested on {images[1]}"

    @property
    def steps_per_epoch(self) -> int:
        return self.feed.steps_per_epoch

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    @property
    def epoch_ended(self) -> bool:
        """The last step was the last one of its epoch, and `finish_epoch` has not come to an end."""
        return self.step % self.steps_per_epoch == 0 and bool(self.sums[2] > 0)

    @property
    def done(self) -> bool:
        return self.step == self.steps and not self.epoch_ended

    def batch(self) -> tuple[Tensor, Tensor]:
        """The augmented images and labels of the next step."""
        return self.feed.labeled("train", self.step)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Forward, backward, clip, update."""
        schedules = self.schedules(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = schedules["lr"]
        self.network.train()
        self.network.drop_path = schedules["drop_path"]
        x, y = batch
        torch.manual_seed(seed_of(self.recipe.seed, _STEP, self.step))
        logits, loss = self._loss(x, y)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.sums += torch.cat([sums_of(logits.detach(), y), norm.double().view(1)])
        self.step += 1

    def schedules(self, epoch: int) -> dict[str, float]:
        """Learning rate, in closed form, and drop-path rate of an epoch."""
        epochs = self.recipe.epochs
        lr = self.recipe.lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        return {"lr": lr, "drop_path": self.recipe.drop_path * (epoch / epochs)}

    def running(self) -> dict[str, float]:
        """Loss, accuracy and gradient norm of the epoch so far; waits for the device.

        FloatingPointError where one is not finite.
        """
        loss, accuracy = averages(self.sums[:3])
        norm = self.sums[3].item() / ((self.step - 1) % self.steps_per_epoch + 1)
        return self._finite({"train_loss": loss, "train_accuracy": accuracy, "grad_norm": norm})

    def finish_epoch(self, before_each: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The record of the epoch that the last step completed; starts the sums of the next one.

        before_each   is called before every batch of the test, and may raise: the epoch then has still to be finished
        FloatingPointError where a number of the record is not finite.
        """
        train, (test_loss, test_accuracy) = self.running(), self.test(before_each)
        test = self._finite({"test_loss": test_loss, "test_accuracy": test_accuracy})
        self.sums = self._no_sums()
        return {"step": self.step, "epoch": self.epoch, **self.schedules(self.epoch - 1), **train, **test}

    @torch.no_grad()
    def test(self, before_each: Callable[[], None] = lambda: None) -> tuple[float, float]:
        """(cross-entropy, accuracy) over the whole test set; see `finish_epoch`."""
        self.network.eval()
        torch.manual_seed(seed_of(self.recipe.seed, _TEST, self.step))
        sums = self._no_sums()[:3]
        for x, y in self.feed.evaluation("test", self.recipe.batch_size):
            before_each()
            sums += sums_of(self.network(x), y)
        return averages(sums)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists, dictionaries and numbers only."""
        momenta = [self.optimizer.state[p]["momentum_buffer"] for p in self.network.parameters()]
        return {"step": self.step, "sums": self.sums, "network": dict(self.network.state_dict()), "momenta": momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError that names the field, and nothing changed, where it is not a state of such a training."""
        check_like(state, self.state_dict(), "the state")
        check_count(state["step"], self.steps, "step")
        self.step, self.sums = state["step"], own(state["sums"], self.device)
        self.network.load_state_dict(state["network"])
        for p, momentum in zip(self.network.parameters(), state["momenta"], strict=True):
            self.optimizer.state[p]["momentum_buffer"] = own(momentum, self.device)

    def _loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the loss with the auxiliary head's share."""
        out = self.network(x)
        if self.network.auxiliary is None:
            return out, cross_entropy(out, y)
        logits, auxiliary = out
        return logits, cross_entropy(logits, y) + self.recipe.auxiliary_weight * cross_entropy(auxiliary, y)

    def _finite(self, numbers: dict[str, float]) -> dict[str, float]:
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"step {self.step}: {name} is {value}")
        return numbers

    def _no_sums(self) -> Tensor:
        """Of cross-entropy, images that are right, images, and steps' gradient norms."""
        return torch.zeros(4, dtype=torch.float64, device=self.device)


def sums_of(logits: Tensor, y: Tensor) -> Tensor:
    """(3,) float64: summed cross-entropy, images that are right, images; kept on the device, so that nothing waits."""
    loss = cross_entropy(logits, y, reduction="sum")
    right = (logits.argmax(1) == y).sum()
    return torch.stack([loss.double(), right.double(), torch.full_like(loss, len(y), dtype=torch.float64)])


def averages(sums: Tensor) -> tuple[float, float]:
    """(loss, accuracy) of an image."""
    loss, right, images = sums.tolist()
    return loss / images, right / images


def with_validation(dataset: Dataset, limit: int | None = None) -> Dataset:
    """The data set whose training images are training and validation images, each cut to `limit` before."""
    (x_train, y_train), (x_val, y_val) = dataset.train, dataset.val
    if isinstance(x_train, Tensor) and isinstance(x_val, Tensor):
        images: Images = torch.cat([x_train[:limit], x_val[:limit]])
    elif isinstance(x_train, ImageStore) and isinstance(x_val, ImageStore):
        images = x_train.of([*x_train.paths[:limit], *x_val.paths[:limit]])
    else:
        raise ValueError(f"{dataset.name}: need training and validation images both in memory or both in files")
    both = images, torch.cat([y_train[:limit], y_val[:limit]])
    return replace(dataset, train=both, val=both, unlabeled=images)

"""Trains the network that a genotype denotes from scratch, on training and validation images together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..backends.precision import library
from ..data import Dataset, Feed
from ..data.seeds import seed_of
from ..data.whole import hold_out, with_validation
from ..genotype.genotype import Genotype
from ..nets.counting import count_macs, count_parameters
from ..nets.network import Network
from ..sgl import ranks
from ..sgl.state_check import check_count, check_like, own
from .recipe import Recipe
from .retrain_schedule import schedules
from .sums import averages, sums_of

_INIT, _STEP, _TEST = 0, 1, 2  # what a seed is for
TOP = 5  # test images count, too, whose label is among so many first classes


class Retraining:
    """A network, its optimiser and its batches; `train_step` after `train_step`, `test` when an epoch is over.

    The published recipe: SGD with momentum, the gradient's norm clipped, an auxiliary head, drop-path that grows
    linearly. Every random number is a function of (seed, step), so that a state loaded from `state_dict` goes on to the
    same numbers as if it had never stopped. The processes of torch.distributed share each batch, with batch statistics
    of their own, and running statistics are the first one's, as under DataParallel.
    """

    def __init__(self, genotype: Genotype, dataset: Dataset, recipe: Recipe, device: str = "cpu") -> None:
        self.genotype, self.recipe, self.dataset = genotype, recipe, dataset
        self.device, self.step = torch.device(device), 0
        self.rank, self.processes = ranks.rank(), ranks.count()
        if recipe.batch_size % self.processes:
            need = f"need a batch that the {self.processes} processes share evenly"
            raise ValueError(f"--batch-size: {need}; got {recipe.batch_size}")
        whole = hold_out(dataset, recipe.held_out) if recipe.held_out else dataset
        self.feed = Feed(
            with_validation(whole, recipe.limit),
            recipe.batch_size,
            recipe.seed,
            self.device,
            cutout=recipe.cutout,
            color_jitter=recipe.color_jitter,
            part=(self.rank, self.processes),
        )
        torch.manual_seed(seed_of(recipe.seed, _INIT))
        self.network = network_of(genotype, recipe, dataset.num_classes).to(self.device)
        if recipe.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.forward = self._wrapped()
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        for p in self.network.parameters():  # as the first step would make it, and part of the state from the start
            self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        self.scaler = torch.amp.GradScaler(self.device.type) if recipe.precision == "float16" else None
        self.average = self._average() if recipe.ema else None
        self.sums = self._no_sums(4)
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
        now = schedules(self.recipe, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = now["lr"]
        self.network.train()
        self.network.drop_path = now["drop_path"]
        x, y = batch
        torch.manual_seed(seed_of(self.recipe.seed, _STEP, self.step, *([self.rank] if self.rank else [])))
        self.optimizer.zero_grad()
        with self._arithmetic():
            logits, loss = self._loss(x, y)
        with library(self.recipe.precision, self.device):
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        norm = self._update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.sums += torch.cat([sums_of(logits.detach(), y), norm.double().view(1)])
        self.step += 1

    def running(self) -> dict[str, float]:
        """Loss, accuracy and gradient norm of the epoch so far; waits for the device, and for all processes.

        FloatingPointError where one is not finite.
        """
        sums = self._of_all(self.sums)
        loss, accuracy = averages(sums[:3])
        norm = sums[3].item() / self.processes / ((self.step - 1) % self.steps_per_epoch + 1)
        return self._finite({"train_loss": loss, "train_accuracy": accuracy, "grad_norm": norm})

    def finish_epoch(self, before_each: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The record of the epoch that the last step completed; starts the sums of the next one.

        before_each   is called before every batch of the test, and may raise: the epoch then has still to be finished
        FloatingPointError where a number of the record is not finite.
        """
        train, test = self.running(), self._finite(self.test(before_each))
        self.sums = self._no_sums(4)
        return {"step": self.step, "epoch": self.epoch, **schedules(self.recipe, self.epoch - 1), **train, **test}

    def test(self, before_each: Callable[[], None] = lambda: None) -> dict[str, float]:
        """Cross-entropy and accuracy over the whole test set, of the weights and of their average; see `finish_epoch`.

        test_top5   the share of images whose label is among the first five; of more than five classes
        """
        found = self._test(self.network, before_each)
        if self.average is not None:
            found |= {f"ema_{name}": value for name, value in self._test(self.average.module, before_each).items()}
        return found

    @torch.no_grad()
    def _test(self, network: nn.Module, before_each: Callable[[], None]) -> dict[str, float]:
        network.eval()
        if self.processes > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)
        torch.manual_seed(seed_of(self.recipe.seed, _TEST, self.step))
        sums, top = self._no_sums(3), self._no_sums(1)
        for x, y in self.feed.evaluation("test", self.recipe.batch_size, (self.rank, self.processes)):
            before_each()
            with self._arithmetic():
                logits = network(self._laid(x))
            sums += sums_of(logits.float(), y)
            if self.dataset.num_classes > TOP:
                top += (logits.topk(TOP).indices == y[:, None]).sum()
        sums, top = self._of_all(sums), self._of_all(top)
        loss, accuracy = averages(sums)
        tops = {"test_top5": top.item() / sums[2].item()} if self.dataset.num_classes > TOP else {}
        return {"test_loss": loss, "test_accuracy": accuracy, **tops}

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists, dictionaries and numbers only; all processes ask for it."""
        return self._state(self._of_all(self.sums))

    def about(self) -> dict[str, Any]:
        """What `weights.save_network` wants to know."""
        r, d = self.recipe, self.dataset
        sizes = {"channels": r.channels, "layers": r.layers, "num_classes": d.num_classes, "imagenet": r.imagenet}
        heads = {"auxiliary": r.auxiliary_weight > 0, "auxiliary_second_bn": r.auxiliary_second_bn}
        images = {"classes": d.classes, "mean": d.mean, "std": d.std, "image_size": d.image_size}
        return {"genotype": json.loads(self.genotype.to_json()), **sizes, **heads, **images}

    def _state(self, sums: Tensor) -> dict[str, Any]:
        momenta = [self.optimizer.state[p]["momentum_buffer"] for p in self.network.parameters()]
        state = {"step": self.step, "sums": sums, "network": dict(self.network.state_dict()), "momenta": momenta}
        if self.average is not None:
            state["ema"] = dict(self.average.state_dict())
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError that names the field, and nothing changed, where it is not a state of such a training."""
        check_like(state, self._state(self.sums), "the state")
        check_count(state["step"], self.steps, "step")
        self.step, self.sums = state["step"], own(state["sums"], self.device)
        if self.rank:
            self.sums.zero_()  # those of all processes are with the first one
        self.network.load_state_dict(state["network"])
        for p, momentum in zip(self.network.parameters(), state["momenta"], strict=True):
            self.optimizer.state[p]["momentum_buffer"].copy_(momentum)
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])

    def _wrapped(self) -> Callable[[Tensor], Any]:
        """The network in training, as all processes have it."""
        shared: nn.Module = self.network
        if self.processes > 1:
            shared = DistributedDataParallel(shared, device_ids=[self.device] if self.device.type == "cuda" else None)
        return torch.compile(shared) if self.recipe.compile else shared

    def _average(self) -> AveragedModel:
        fn = get_ema_multi_avg_fn(self.recipe.ema)
        return AveragedModel(self.network, multi_avg_fn=fn, use_buffers=True)

    def _laid(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last else x

    def _arithmetic(self) -> AbstractContextManager[Any]:
        """Around every forward."""
        mixed = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.recipe.precision)
        if mixed is not None:
            return torch.autocast(self.device.type, mixed)
        context: AbstractContextManager[Any] = library(self.recipe.precision, self.device)
        return context

    def _loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the loss with the auxiliary head's share."""
        out, smoothing = self.forward(self._laid(x)), self.recipe.label_smoothing
        if self.network.auxiliary is None:
            return out, cross_entropy(out, y, label_smoothing=smoothing)
        logits, auxiliary = out
        second = cross_entropy(auxiliary, y, label_smoothing=smoothing)
        return logits, cross_entropy(logits, y, label_smoothing=smoothing) + self.recipe.auxiliary_weight * second

    def _update(self) -> Tensor:
        """A step of the optimiser. Returns the norm of the gradient; 0 of one that overflows: it is left out."""
        if self.scaler is None:
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
            self.optimizer.step()
            return norm
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.where(norm.isfinite(), norm, 0.0)

    def _of_all(self, sums: Tensor) -> Tensor:
        """Over the processes."""
        if self.processes == 1:
            return sums
        total = sums.clone()
        dist.all_reduce(total)
        return total

    def _finite(self, numbers: dict[str, float]) -> dict[str, float]:
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"step {self.step}: {name} is {value}")
        return numbers

    def _no_sums(self, count: int) -> Tensor:
        """Of cross-entropy, images that are right, images, and steps' gradient norms."""
        return torch.zeros(count, dtype=torch.float64, device=self.device)


def network_of(genotype: Genotype, recipe: Recipe, classes: int) -> Network:
    """With weights drawn by torch's generator."""
    return Network(
        genotype,
        recipe.channels,
        recipe.layers,
        classes,
        auxiliary=recipe.auxiliary_weight > 0,
        imagenet=recipe.imagenet,
        auxiliary_second_bn=recipe.auxiliary_second_bn,
    )

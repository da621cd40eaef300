"""Small-Group Learning written out: parameters of their own for every learner, torch.optim, one autograd graph a step.

One learner at a time, one pass at a time; eqs (4)-(6) are differentiated as they stand, by double backward. Of the
package it takes the network of one learner (reference backend), and what a search starts with. Slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgl_fast.data.batch import Batch
from sgl_fast.data.seeds import seed_of
from sgl_fast.nets.supernet import RunningStats, Supernet
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search
from sgl_fast.spaces.arch import FIELDS, Arch

V_TRAIN, W_TRAIN, LABELS, W_UNLABELED, W_VAL = range(5)  # passes of a step, which drop out by masks of their own


@dataclass
class Setting:
    """An epoch, as section 4.2, eqs (13)-(14), DARTS-, P-DARTS and the released code say."""

    phase: str
    moving: bool
    lr: dict[str, float]
    dropout: dict[str, float]
    beta: float

    @classmethod
    def of(cls, c: Config, space: str, epoch: int) -> Setting:
        phase, E, P = c.schedule, c.epochs, c.pretrain_epochs
        if phase == "separate":
            phase, epoch = ("teachers", epoch) if epoch < E else ("students", epoch - E)
        if epoch < P:
            phase = "pretrain"
        moving = phase != "pretrain" and epoch >= c.arch_start
        since = max(0, epoch - P)  # epochs that W has had
        lr = {"v": cosine(c, epoch, E), "w": cosine(c, since, E - P)}
        dropout = {"v": c.skip_dropout * (E - epoch - 1) / E, "w": c.skip_dropout * (E - P - since - 1) / (E - P)}
        if epoch >= c.arch_start:
            dropout = dict.fromkeys(dropout, c.skip_dropout * math.exp(-0.2 * (epoch - c.arch_start)))
        beta = (E - epoch) / E if space == "darts_minus" else 1.0
        return cls(phase, moving, lr, dropout, beta)


def cosine(c: Config, epoch: int, epochs: int) -> float:
    if epoch < c.warmup_epochs:
        return c.lr * (epoch + 1) / c.warmup_epochs
    return c.lr_min + (c.lr - c.lr_min) / 2 * (1 + math.cos(math.pi * epoch / epochs))


class Learner:
    """W, V, the architectures A and B of them (B is another one in eqs (13)-(14) alone), and their optimisers."""

    def __init__(self, search: Search, k: int) -> None:
        c = search.config
        self.net: Supernet = search.nets[k]
        P, S = self.net.num_weights, self.net.num_statistics
        self.w, self.v = (nn.Parameter(t[k, :P].double().clone()) for t in (search.w, search.v))
        archs = search.architect.arch, search.architect_v.arch
        self.a, self.b = ([nn.Parameter(t[k].double().clone()) for t in arch.tensors()] for arch in archs)
        self.running = RunningStats(torch.zeros(1, S, dtype=self.w.dtype), torch.ones(1, S, dtype=self.w.dtype))
        self.sgd = {
            name: torch.optim.SGD([weights], c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
            for name, weights in (("w", self.w), ("v", self.v))
        }
        betas = c.arch_beta1, c.arch_beta2
        self.adam = {
            name: torch.optim.Adam(arch, c.arch_lr, betas=betas, weight_decay=c.arch_weight_decay)
            for name, arch in (("a", self.a), ("b", self.b))
        }


class NaiveSearch:
    """As `Search`, from the state that it starts with. said: what the last step's record should hold."""

    def __init__(self, search: Search) -> None:
        self.config, self.steps = search.config, 0
        self.learners = [Learner(search, k) for k in range(search.config.learners)]

    def step(self, batch: Batch) -> None:
        c = self.config
        self.now = Setting.of(c, self.learners[0].net.space.name, self.steps // c.steps_per_epoch)
        self.images = {
            V_TRAIN: (batch.x_train, batch.y_train),
            W_TRAIN: (batch.x_train, batch.y_train),
            LABELS: (batch.x_unlabeled, None),
            W_UNLABELED: (batch.x_unlabeled, None),
            W_VAL: (batch.x_val, batch.y_val),
        }
        draw = torch.Generator().manual_seed(seed_of(c.seed, self.steps))
        self.seeds = torch.randint(2**62, (5, len(self.learners)), generator=draw)
        self.said: dict[str, list[float]] = {}
        if self.now.phase in ("pretrain", "teachers"):
            self.alone()
        else:
            self.together()
        self.steps += 1

    def alone(self) -> None:
        """Eq (13), and what goes before the released code's joint epochs."""
        ahead, name = [], "b" if self.now.phase == "teachers" else "a"
        for k, one in enumerate(self.learners):
            v = leaf(one.v)
            ahead.append(self.descend(k, "v", v, self.loss(k, "train_v", v, getattr(one, name), V_TRAIN, "v")))
        if self.now.moving:
            self.move(name, [self.loss(k, "val_v", v, one.b, W_VAL, "v") for k, (v, one) in self.pairs(ahead)])

    def together(self) -> None:
        """Algorithm 1; eqs (12), (14) and (15); the released code's order."""
        c, released, frozen = self.config, self.now.phase == "released", self.now.phase == "students"
        coupled = len(self.learners) > 1 and c.lam > 0
        if released and self.now.moving:
            self.move("a", [self.loss(k, "val", one.w, one.a, W_VAL, "w") for k, one in enumerate(self.learners)])
        labels = [self.labels(k, frozen) for k in range(len(self.learners)) if coupled]
        ahead = []
        for k, one in enumerate(self.learners):
            w, role = leaf(one.w), W_TRAIN if coupled and not frozen and c.teacher == "preliminary" else V_TRAIN
            loss = self.loss(k, "train", w, one.a, role, "w", one.running) * c.human_labels
            if coupled:
                logits = self.logits(k, w, one.a, W_UNLABELED, "w")
                soft = sum((F.cross_entropy(logits, p) for j, p in enumerate(labels) if j != k), torch.zeros(()))
                self.say("pseudo_loss", soft)
                loss = loss + c.lam * soft
            ahead.append(self.descend(k, "w", w, loss))
        if self.now.moving and not released:
            self.move("a", [self.loss(k, "val", w, one.a, W_VAL, "w") for k, (w, one) in self.pairs(ahead)])

    def labels(self, k: int, frozen: bool) -> Tensor:
        """What learner k says of the images without labels, after the step of V_k where V_k learns."""
        one, c = self.learners[k], self.config
        arch = one.a if c.explicit_pseudo_label_grad else [leaf(t) for t in one.a]
        if frozen:
            return self.logits(k, leaf(one.v), [leaf(t) for t in one.b], LABELS, "v").softmax(-1).detach()
        if c.teacher == "self":
            return self.logits(k, leaf(one.w), arch, LABELS, "w").softmax(-1)
        v = leaf(one.v)
        v = self.descend(k, "v", v, self.loss(k, "train_v", v, one.a, V_TRAIN, "v"))
        return self.logits(k, v, arch, LABELS, "v").softmax(-1)

    def logits(self, k: int, weights: Tensor, arch: list[Any], role: int, whose: str, running: Any = None) -> Tensor:
        x, seeds = self.images[role][0], self.seeds[role, k : k + 1]
        options = {"skip_beta": self.now.beta, "skip_dropout": self.now.dropout[whose], "dropout_seeds": seeds}
        one = Arch(**dict(zip(FIELDS, (t[None] for t in arch), strict=False)))
        x = x[k] if x.dim() == 5 else x
        return self.learners[k].net(weights[None], one, x, running=running, backend="reference", **options)[0]

    def loss(
        self, k: int, name: str, weights: Tensor, arch: list[Any], role: int, whose: str, running: Any = None
    ) -> Tensor:
        logits, y = self.logits(k, weights, arch, role, whose, running), self.images[role][1]
        y = y[k] if y.dim() == 2 else y
        loss = F.cross_entropy(logits, y)
        self.say(f"{name}_loss", loss)
        self.say(f"{name}_accuracy", (logits.argmax(-1) == y).double().mean())
        return loss

    def descend(self, k: int, name: str, weights: Tensor, loss: Tensor) -> Tensor:
        """A step of SGD; returns the new weights, which depend on the architectures as eqs (4), (5) say."""
        c, one = self.config, self.learners[k]
        second = c.order == 2 and self.now.moving
        (grad,) = torch.autograd.grad(loss, weights, create_graph=second)
        kept = getattr(one, name)
        kept.grad = grad.detach().clone()
        self.say(f"grad_norm_{name}", kept.grad.norm())
        if c.clip:
            nn.utils.clip_grad_norm_([kept], c.clip)
        one.sgd[name].param_groups[0]["lr"] = self.now.lr[name]
        one.sgd[name].step()
        return leaf(kept) - self.now.lr[name] * (grad - grad.detach())

    def move(self, name: str, losses: list[Tensor]) -> None:
        """A step of Adam down the sum of all learners' losses."""
        archs = [getattr(one, name) for one in self.learners]
        grads = iter(torch.autograd.grad(sum(losses, torch.zeros(())), [t for arch in archs for t in arch]))
        for one, arch in zip(self.learners, archs, strict=True):
            for t in arch:
                t.grad = next(grads)
            norm = torch.cat([t.grad.flatten() for t in arch]).norm()
            self.say("hypergradient_norm", norm)
            if self.config.arch_clip:
                nn.utils.clip_grad_norm_(arch, self.config.arch_clip)
            one.adam[name].step()

    def pairs(self, ahead: list[Tensor]) -> Any:
        return enumerate(zip(ahead, self.learners, strict=True))

    def say(self, name: str, value: Tensor) -> None:
        self.said.setdefault(name, []).append(value.item())


def leaf(t: Tensor) -> Tensor:
    return t.detach().clone().requires_grad_()

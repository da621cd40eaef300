"""Small-Group Learning: Algorithm 1 with the optimisers of practice, the whole state of a search in one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import ranks
from .arch import FIELDS, Arch, init_arch
from .batch import Batch
from .config import Config
from .data.seeds import seed_of
from .implicit import Options, Step, Update, sgl_step
from .ops.flat_update import adam, row_norms, sgd
from .passes import Passes, Rows, one_hot
from .reference_flat import clipped
from .spaces.darts_minus import skip_beta
from .spaces.p_darts import skip_dropout
from .supernet import Supernet
from .walk import RunningStats

Norms = dict[str, list[float]]


class Architect:
    """The architectures of K learners and their Adam."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.moments = torch.zeros_like(arch.flat()), torch.zeros_like(arch.flat())
        self.steps = 0

    def moved(self, gradient: Arch, config: Config) -> Architect:
        """After one step of Adam; this one stays as it is."""
        new = Architect(self.arch)
        new.steps = self.steps + 1
        betas = config.arch_beta1, config.arch_beta2
        grad = clipped(gradient.flat(), config.arch_clip)
        flat, new.moments = adam(
            self.arch.flat(), grad, self.moments, new.steps, config.arch_lr, betas, config.arch_weight_decay
        )
        new.arch = self.arch.from_flat(flat)
        return new

    def state_dict(self) -> dict[str, Any]:
        arch = {name: t for name in FIELDS if (t := getattr(self.arch, name)) is not None}
        return {"arch": arch, "moments": list(self.moments), "steps": self.steps}

    @classmethod
    def restored(cls, state: dict[str, Any], device: torch.device) -> Architect:
        architect = cls(Arch(**{name: t.to(device, copy=True) for name, t in state["arch"].items()}))
        first, second = (t.to(device, copy=True) for t in state["moments"])
        architect.moments, architect.steps = (first, second), state["steps"]
        return architect


class Search:
    """K learners: preliminary weights v and weights w (K, P), their momenta, architectures, statistics of w, counters.

    net      one supernet for all learners, or one a learner: those may differ in their operations (P-DARTS), and the
             weights and statistics of a smaller one are padded with zeros at the end
    Everything drawn at random depends on config.seed (and, for dropout, the step) alone.
    """

    def __init__(
        self, net: Supernet | Sequence[Supernet], config: Config | None = None, device: torch.device | str = "cpu"
    ) -> None:
        first = net if isinstance(net, Supernet) else net[0]
        self.config = config or Config.preset(first.space.name)
        K = self.config.learners
        self.nets = [net] * K if isinstance(net, Supernet) else list(net)
        if len(self.nets) != K:
            raise ValueError(f"need one net, or one for each of {K} learners; got {len(self.nets)}")
        self.space = first.space
        draw = torch.Generator().manual_seed(self.config.seed)
        self.w = self._init_weights(draw).to(device)
        self.v = self._init_weights(draw).to(device)
        self.architect, self.architect_v = (
            Architect(init_arch(self.space, K, draw, torch.float32).map(lambda t: t.to(device))) for _ in range(2)
        )
        self.momentum_w, self.momentum_v = torch.zeros_like(self.w), torch.zeros_like(self.v)
        statistics = torch.zeros(K, max(n.num_statistics for n in self.nets), device=device)
        self.running = RunningStats(statistics, torch.ones_like(statistics))
        self.steps = 0

    @property
    def arch(self) -> Arch:
        """The architectures A_k."""
        return self.architect.arch

    @property
    def epoch(self) -> int:
        return self.steps // self.config.steps_per_epoch

    def step(self, batch: Batch) -> dict[str, Any]:
        """One step on a batch; losses and norms, a list over the learners each, and passes counted.

        A loss that is not finite is a FloatingPointError that names the step, the loss and the learner; nothing of the
        state has changed then.
        """
        kept = dict(vars(self))
        self.running = RunningStats(self.running.mean.clone(), self.running.var.clone())
        try:
            record = self._phase()(batch)
        except BaseException:
            vars(self).update(kept)
            raise
        self.steps += 1
        if self.steps % self.config.steps_per_epoch == 0:
            ranks.check_equal("architecture", self.architect.arch.flat())
        return record

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists, dictionaries and numbers only."""
        weights = {name: getattr(self, name) for name in ("w", "v", "momentum_w", "momentum_v")}
        architects = {"architect": self.architect.state_dict(), "architect_v": self.architect_v.state_dict()}
        return {**weights, **architects, "running": [self.running.mean, self.running.var], "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError, and nothing changed, where the state is of a search of another size."""
        if state["w"].shape != self.w.shape:
            raise ValueError(f"need weights {tuple(self.w.shape)}; the state has {tuple(state['w'].shape)}")
        device = self.w.device
        for name in ("w", "v", "momentum_w", "momentum_v"):
            setattr(self, name, state[name].to(device, copy=True))
        for name in ("architect", "architect_v"):
            setattr(self, name, Architect.restored(state[name], device))
        self.running = RunningStats(*(t.to(device, copy=True) for t in state["running"]))
        self.steps = state["steps"]

    def passes(self, arch: Arch) -> Passes:
        """Passes with these architectures, as the epoch has them."""
        c = self.config
        beta = skip_beta(self.epoch, c.total_epochs) if self.space.aux_skip else 1.0
        dropout = c.skip_dropout
        if dropout and self.space.name == "p_darts":
            dropout = skip_dropout(self.epoch, c.total_epochs, dropout, c.arch_start)
        return Passes(self.nets, arch, c.chunk, skip_beta=beta, skip_dropout=dropout, precision=c.precision)

    def _phase(self) -> Callable[[Batch], dict[str, Any]]:
        """What a step of the current epoch is."""
        c = self.config
        if self.epoch < c.pretrain_epochs:
            return self._pretrain
        if c.schedule == "separate":
            return self._separate_teachers if self.epoch < c.epochs else self._separate_students
        return self._released if c.schedule == "released" else self._joint

    def _joint(self, batch: Batch) -> dict[str, Any]:
        """Algorithm 1: V, W, A."""
        return self._together(batch, self._options())

    def _released(self, batch: Batch) -> dict[str, Any]:
        """What the released code runs: A by its own first-order term at the current W, then V, then W."""
        norm, losses = Norms(), dict[str, Tensor]()
        counted = [self.passes(self.arch)]
        if self.moving:
            targets = one_hot(batch.y_val, self.space.num_classes, len(self.w), self.w.dtype)
            got = counted[0].gradients(Rows(range(len(self.w)), self.w, batch.x_val, targets), arch=True)
            losses["val"] = got.loss
            self._move("architect", got.arch, norm)
            counted.append(self.passes(self.arch))
        step = self._run(counted[-1], batch, self._options(order=1), norm, moving=False)
        step.losses |= losses
        return self._record(step, norm, *counted)

    def _pretrain(self, batch: Batch) -> dict[str, Any]:
        """Only the preliminary weights learn."""
        return self._alone(batch, self.passes(self.arch), moving=False)

    def _separate_teachers(self, batch: Batch) -> dict[str, Any]:
        """Eq (13): every learner searches B_k with weights V_k on its own."""
        return self._alone(batch, self.passes(self.architect_v.arch), self.moving)

    def _separate_students(self, batch: Batch) -> dict[str, Any]:
        """Eq (14): W and A, on the pseudo-labels of the V and B that stay as they are."""
        return self._together(batch, self._options(teacher="frozen"), self.passes(self.architect_v.arch))

    def _together(self, batch: Batch, options: Options, teachers: Passes | None = None) -> dict[str, Any]:
        """W (and V, unless the teachers are others) with pseudo-labels, then A."""
        passes, norm = self.passes(self.arch), Norms()
        got = self._run(passes, batch, options, norm, self.moving, teachers)
        if got.hypergradient is not None:
            self._move("architect", got.hypergradient, norm)
        return self._record(got, norm, passes, *([] if teachers is None else [teachers]))

    @property
    def moving(self) -> bool:
        """Whether the architecture moves in this epoch."""
        c = self.config
        epoch = self.epoch - c.epochs if c.schedule == "separate" and self.epoch >= c.epochs else self.epoch
        return epoch >= c.arch_start

    def _alone(self, batch: Batch, passes: Passes, moving: bool) -> dict[str, Any]:
        """V (and B, if it moves) without pseudo-labels."""
        norm = Norms()
        options = self._options(lam=0.0, human_labels=True)
        draw = self._generator()
        update = self._updater("v", norm)
        got = sgl_step(passes, self.v, self.v, batch, options, update, update, draw, None, moving)
        self.v = got.w
        if got.hypergradient is not None:
            self._move("architect_v", got.hypergradient, norm)
        got.losses, got.accuracies = (
            {f"{name}_v": value for name, value in values.items()} for values in (got.losses, got.accuracies)
        )
        return self._record(got, norm, passes)

    def _run(
        self,
        passes: Passes,
        batch: Batch,
        options: Options,
        norm: Norms,
        moving: bool,
        teachers: Passes | None = None,
    ) -> Step:
        updates = self._updater("w", norm), self._updater("v", norm)
        draw = self._generator()
        got = sgl_step(passes, self.w, self.v, batch, options, *updates, draw, self.running, moving, teachers)
        self.w, self.v = got.w, got.v
        return got

    def _updater(self, name: str, norm: Norms) -> Update:
        c, lr = self.config, self._lr(name)

        def update(weights: Tensor, grad: Tensor) -> Tensor:
            buffer = getattr(self, f"momentum_{name}")
            new, buffer, grad_norms = sgd(weights, grad, buffer, lr, c.momentum, c.weight_decay, c.clip)
            setattr(self, f"momentum_{name}", buffer)
            norm[f"grad_norm_{name}"] = grad_norms.tolist()
            return new

        return update

    def _lr(self, name: str) -> float:
        """Of w or v in this epoch: in the released code w starts its schedule after the pre-training epochs."""
        c, epoch = self.config, self.epoch
        if c.schedule == "separate":
            return c.lr_at(epoch % c.epochs)
        if name == "v":
            return c.lr_at(epoch)
        return c.lr_at(max(0, epoch - c.pretrain_epochs), c.epochs - c.pretrain_epochs)

    def _options(self, **changes: Any) -> Options:
        c = self.config
        settings = {
            "xi_w": self._lr("w"),
            "xi_v": self._lr("v"),
            "explicit_pseudo_label_grad": c.explicit_pseudo_label_grad,
            "r": c.radius,
            "precision": c.perturbed_precision,
            **{name: getattr(c, name) for name in ("lam", "order", "method", "human_labels", "teacher")},
        }
        return Options(**{**settings, **changes})

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.config.seed, self.steps))

    def _move(self, name: str, gradient: Arch, norm: Norms) -> None:
        norm["hypergradient_norm"] = row_norms(gradient.flat()).tolist()
        setattr(self, name, getattr(self, name).moved(gradient, self.config))

    def _record(self, step: Step, norm: Norms, *passes: Passes) -> dict[str, Any]:
        counts = {name: sum(getattr(p, name) for p in passes) for name in ("forwards", "backwards")}
        named = {f"{name}_loss": loss.tolist() for name, loss in step.losses.items()}
        for name, values in named.items():
            for k, value in enumerate(values):
                if not abs(value) < float("inf"):
                    raise FloatingPointError(f"step {self.steps}: {name} of learner {k} is {value}")
        accuracies = {f"{name}_accuracy": value.tolist() for name, value in step.accuracies.items()}
        return {**named, **accuracies, **norm, **counts}

    def _init_weights(self, draw: torch.Generator) -> Tensor:
        rows = [net.init_weights(1, draw, torch.float32) for net in self.nets]
        width = max(net.num_weights for net in self.nets)
        return torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])

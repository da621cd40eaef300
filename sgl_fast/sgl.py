"""Small-Group Learning: Algorithm 1 with the optimisers of practice, the whole state of a search in one object."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arch import FIELDS, Arch
from .batch import Batch
from .config import Config
from .flat_update import adam, clipped, norms, sgd
from .implicit import Options, sgl_step
from .passes import Passes
from .spaces.darts_minus import skip_beta
from .supernet import Supernet
from .walk import RunningStats


class Search:
    """K learners: preliminary weights v and weights w (K, P), their momenta, architectures, statistics of w, counters.

    Everything drawn at random depends on config.seed (and, for dropout, the step) alone.
    """

    def __init__(self, net: Supernet, config: Config | None = None, device: torch.device | str = "cpu") -> None:
        self.net, self.config = net, config or Config.preset(net.space.name)
        K, draw = self.config.learners, torch.Generator().manual_seed(self.config.seed)
        self.w = net.init_weights(K, draw, torch.float32).to(device)
        self.v = net.init_weights(K, draw, torch.float32).to(device)
        self.arch = net.init_arch(K, draw, torch.float32).map(lambda t: t.to(device))
        self.momentum_w, self.momentum_v = torch.zeros_like(self.w), torch.zeros_like(self.v)
        self.moments = torch.zeros_like(self.arch.flat()), torch.zeros_like(self.arch.flat())
        self.running: RunningStats = net.init_running(K, torch.float32, device)
        self.steps = self.arch_steps = 0

    @property
    def epoch(self) -> int:
        return self.steps // self.config.steps_per_epoch

    def step(self, batch: Batch) -> dict[str, Any]:
        """One step of Algorithm 1 on a batch; losses and norms, a list over the learners each, and passes counted.

        A loss that is not finite is a FloatingPointError that names the step, the loss and the learner; nothing of the
        state has changed then.
        """
        config, lr = self.config, self.config.lr_at(self.epoch)
        moving = self.epoch >= config.arch_start
        passes = Passes(self.net, self.arch, config.chunk, **self._model_options())
        momenta = self.momentum_w.clone(), self.momentum_v.clone()
        running = RunningStats(self.running.mean.clone(), self.running.var.clone())
        gradient_norms: dict[str, list[float]] = {}

        def update(name: str, buffer: Tensor) -> Any:
            def apply(weights: Tensor, grad: Tensor) -> Tensor:
                gradient_norms[f"grad_norm_{name}"] = norms(grad)
                return sgd(weights, grad, buffer, lr, config.momentum, config.weight_decay, config.clip)

            return apply

        draw = torch.Generator().manual_seed(hash((config.seed, self.steps)) % 2**63)
        updates = update("w", momenta[0]), update("v", momenta[1])
        got = sgl_step(passes, self.w, self.v, batch, self._options(lr), *updates, draw, running, moving)
        losses = {f"{name}_loss": loss.tolist() for name, loss in got.losses.items()}
        self._check_finite(losses)
        self.w, self.v, (self.momentum_w, self.momentum_v), self.running = got.w, got.v, momenta, running
        if got.hypergradient is not None:
            gradient_norms["hypergradient_norm"] = norms(got.hypergradient.flat())
            self._move(got.hypergradient)
        self.steps += 1
        return {**losses, **gradient_norms, "forwards": passes.forwards, "backwards": passes.backwards}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only."""
        arch = {f: getattr(self.arch, f) for f in FIELDS if getattr(self.arch, f) is not None}
        return {
            "w": self.w,
            "v": self.v,
            "momentum_w": self.momentum_w,
            "momentum_v": self.momentum_v,
            "arch": arch,
            "moments": list(self.moments),
            "running": [self.running.mean, self.running.var],
            "steps": self.steps,
            "arch_steps": self.arch_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError, and nothing changed, where the state is of a search of another size."""
        if state["w"].shape != self.w.shape:
            raise ValueError(f"need weights {tuple(self.w.shape)}; the state has {tuple(state['w'].shape)}")
        device = self.w.device
        for name in ("w", "v", "momentum_w", "momentum_v"):
            setattr(self, name, state[name].to(device, copy=True))
        self.arch = Arch(**{name: t.to(device, copy=True) for name, t in state["arch"].items()})
        first, second = (t.to(device, copy=True) for t in state["moments"])
        self.moments = first, second
        self.running = RunningStats(*(t.to(device, copy=True) for t in state["running"]))
        self.steps, self.arch_steps = state["steps"], state["arch_steps"]

    def _options(self, lr: float) -> Options:
        c = self.config
        explicit, ablations = c.explicit_pseudo_label_grad, (c.human_labels, c.teacher)
        return Options(lr, lr, c.lam, c.order, c.r, c.method, explicit, *ablations)

    def _model_options(self) -> dict[str, Any]:
        beta = skip_beta(self.epoch, self.config.epochs) if self.net.space.aux_skip else 1.0
        return {"skip_beta": beta, "skip_dropout": self.config.skip_dropout}

    def _move(self, h: Arch) -> None:
        """One Adam step of the architectures."""
        c = self.config
        self.arch_steps += 1
        betas = c.arch_beta1, c.arch_beta2
        grad = clipped(h.flat(), c.arch_clip)
        flat = adam(self.arch.flat(), grad, self.moments, self.arch_steps, c.arch_lr, betas, c.arch_weight_decay)
        self.arch = self.arch.from_flat(flat)

    def _check_finite(self, losses: dict[str, list[float]]) -> None:
        for name, values in losses.items():
            for k, value in enumerate(values):
                if not abs(value) < float("inf"):
                    raise FloatingPointError(f"step {self.steps}: {name} of learner {k} is {value}")

"""Small-Group Learning: Algorithm 1 with the optimisers of practice, the whole state of a search in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backends.choice import choose
from ..data.batch import Batch
from ..nets.supernet import Supernet
from ..ops.flat_update import row_norms, sgd
from ..reference.layers import RunningStats
from ..relaxations import relaxation as relaxation_of
from ..relaxations.base import Relaxation
from ..spaces.arch import Arch, init_arch
from . import processes, ranks
from .arch_adam import ArchAdam
from .config import Config
from .epoch_passes import passes_of
from .options import Options
from .passes import Passes
from .phases import PHASES, Phase
from .record import Record, Report
from .schedule import Epoch, epoch_of
from .state_check import check_count, check_like, own
from .step import Update, sgl_step
from .step_graph import CudaGraph, GraphedSteps, on
from .step_inputs import StepInputs
from .virtual_learners import VirtualLearners, one_hot

Values = dict[str, Tensor]
SHARED = ("lam", "order", "method", "human_labels", "teacher", "explicit_pseudo_label_grad")  # of Config and Options


class Search:
    """K learners: preliminary weights v and weights w (K, P), their momenta, architectures, statistics of w, counters.

    net      one supernet for all learners, or one a learner: those may differ in their operations (P-DARTS), and the
             weights and statistics of a smaller one are padded with zeros at the end
    config   None: the best algorithm with the paper's settings for the space
    device   where the state lies
    graph    True: replay the step as one CUDA graph, from the second step of a kind on; False: launch every kernel;
             None: a graph where the backend is cuda or triton. The numbers are the same. A
             graph writes to the tensors of the state in place, and a FloatingPointError comes one step late.
    dtype    of the weights, the architectures and the images; float64 has the reference backend alone
    relaxation   how architectures become weights of operations; None: that of config.relaxation
    Everything drawn at random depends on config.seed (and, for dropout, the step) alone.

    >>> net = Supernet(space("darts", channels=4, layers=3, nodes=2))
    >>> images, labels = torch.rand(3, 4, 3, 8, 8), torch.randint(10, (2, 4))
    >>> batch = Batch(images[0], labels[0], images[1], images[2], labels[1])
    >>> search = Search(net, Config(learners=2, order=1))
    >>> len(search.step(batch)["grad_norm_v"])
    2
    >>> derive(net.space, search.arch, learner=1).normal_concat
    (2, 3)
    """

    recorder: type[Any] = CudaGraph

    def __init__(
        self,
        net: Supernet | Sequence[Supernet],
        config: Config | None = None,
        device: torch.device | str = "cpu",
        graph: bool | None = None,
        dtype: torch.dtype = torch.float32,
        relaxation: Relaxation | None = None,
    ) -> None:
        first = net if isinstance(net, Supernet) else net[0]
        self.config = config or Config.preset(first.space.name)
        K = self.config.learners
        self.nets = [net] * K if isinstance(net, Supernet) else list(net)
        if len(self.nets) != K:
            raise ValueError(f"need one net, or one for each of {K} learners; got {len(self.nets)}")
        self.relaxation = relaxation or relaxation_of(self.config.relaxation)
        self.space = first.space
        self.noisy = self.relaxation.skip_noise > 0 or any(net.noisy for net in self.nets)
        draw = torch.Generator().manual_seed(self.config.seed)
        self.w = self._init_weights(draw).to(device, dtype)
        self.v = self._init_weights(draw).to(device, dtype)
        archs = [init_arch(self.space, K, draw, torch.float32) for _ in "wv"]
        self.architect, self.architect_v = (ArchAdam(a.map(lambda t: t.to(device, dtype))) for a in archs)
        self.momentum_w, self.momentum_v = torch.zeros_like(self.w), torch.zeros_like(self.v)
        statistics = torch.zeros(K, max(n.num_statistics for n in self.nets), device=device, dtype=dtype)
        self.running = RunningStats(statistics, torch.ones_like(statistics))
        self.steps = 0
        self._graph_wanted, self._graphs = graph, GraphedSteps(self.recorder)
        if graph and self.w.device.type != self.recorder.device_type:
            raise ValueError(f"need a CUDA device for a graph; got {self.w.device}")

    @property
    def arch(self) -> Arch:
        """The architectures A_k."""
        return self.architect.arch

    def step(self, batch: Batch) -> Mapping[str, Any]:
        """One step on a batch; losses and norms, a list over the learners each, and passes counted.

        implicit_share is the norm of the hypergradient's second-order part over that of the whole, 0 at first order.
        implicit_error, of method "frozen" in float32, is an estimate of the implicit terms' relative error, rather too
        large: it was at most 1e-3 on six images of 8 x 8 or 16 x 16. A loss, a norm or state that is not finite is a
        FloatingPointError, and nothing has changed; of a graph, it comes with the next step or a look at the record.
        """
        with on(self.w.device):
            processes.expect_step(self.graph_key(batch))
            if self.graphed:
                return self._graphs.step(self, batch)
            self.synchronize()
            return self.eager_step(batch)

    def synchronize(self) -> None:
        """Waits for the last step. FloatingPointError, and back to the state before it, where that is not finite."""
        self._graphs.synchronize(self)

    def tensors(self) -> list[Tensor]:
        """The whole state but the count of steps."""
        weights = [self.w, self.v, self.momentum_w, self.momentum_v, self.running.mean, self.running.var]
        return [*weights, *self.architect.tensors(), *self.architect_v.tensors()]

    def replace_tensors(self, tensors: list[Tensor]) -> None:
        """Others in their place, in the order of `tensors`."""
        self.w, self.v, self.momentum_w, self.momentum_v, mean, var, *architects = tensors
        self.running = RunningStats(mean, var)
        half = len(architects) // 2
        self.architect = self.architect.replaced(architects[:half])
        self.architect_v = self.architect_v.replaced(architects[half:])

    def snapshot(self) -> Callable[[], None]:
        """What brings the state of now back. Only graphs write to its tensors; all else replaces them."""
        self.synchronize()
        tensors, steps = [t.clone() if self.graphed else t for t in self.tensors()], self.steps

        def restore() -> None:
            self.replace_tensors(tensors)
            self.steps = steps

        return restore

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists, dictionaries and numbers only."""
        self.synchronize()
        weights = {name: getattr(self, name) for name in ("w", "v", "momentum_w", "momentum_v")}
        architects = {"architect": self.architect.state_dict(), "architect_v": self.architect_v.state_dict()}
        return {**weights, **architects, "running": [self.running.mean, self.running.var], "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError that names the field, and nothing changed, where it is not a state of such a search."""
        check_like(state, self.state_dict(), "search")
        check_count(state["steps"], 2**53, "search.steps")
        for name in ("architect", "architect_v"):
            check_count(state[name]["steps"], state["steps"], f"search.{name}.steps")
        device = self.w.device
        for name in ("w", "v", "momentum_w", "momentum_v"):
            setattr(self, name, own(state[name], device))
        for name in ("architect", "architect_v"):
            setattr(self, name, ArchAdam.restored(state[name], device))
        self.running = RunningStats(*(own(t, device) for t in state["running"]))
        self.steps, self._graphs = state["steps"], GraphedSteps(self.recorder)

    @property
    def now(self) -> Epoch:
        """What the epoch of the next step has."""
        return self.epoch_of(self.steps)

    def epoch_of(self, step: int) -> Epoch:
        """What the epoch of a step, from 0 on, has."""
        return epoch_of(self.config, self.space, step // self.config.steps_per_epoch)

    def passes(self, arch: Arch, whose: str, epoch: Epoch | StepInputs, mix_seeds: Tensor | None = None) -> Passes:
        """Forwards and backwards of all learners' weights with the architectures `arch`.

        whose, epoch, mix_seeds   as `passes_of`
        """
        return passes_of(self.nets, arch, whose, epoch, self.config, self.relaxation, mix_seeds)

    @property
    def graphed(self) -> bool:
        """Whether steps are replayed as graphs."""
        if self._graph_wanted is not None:
            return self._graph_wanted
        fused = choose(None, self.w.device, self.w.dtype) in ("cuda", "triton")
        return fused and self.w.is_cuda

    def graph_key(self, batch: Batch) -> Any:
        """What a step on `batch` does, but for the values of its tensors: one graph is right for all steps of a key."""
        images = [(x.shape, x.dtype, x.device) for x in (batch.x_train, batch.x_unlabeled, batch.x_val)]
        backend = choose(None, self.w.device, self.w.dtype)
        return self.now, self.config, backend, images

    def eager_step(self, batch: Batch) -> dict[str, Any]:
        """A step on `batch` kernel by kernel; its record is read."""
        batch.check(self.space.num_classes)
        kept = dict(vars(self))
        try:
            record = Record(self.run(batch, self.next_inputs()), self.steps).read()
        except BaseException:
            vars(self).update(kept)
            raise
        self.count_step()
        return record

    def count_step(self) -> None:
        """Once its work is under way."""
        self.steps += 1
        if self.steps % self.config.steps_per_epoch == 0:
            ranks.check_equal("architecture", self.architect.arch.flat())

    def run(self, batch: Batch, inputs: StepInputs) -> Report:
        """A step of the current epoch on `batch` and `inputs`, those of `next_inputs`, on the device.

        Everything that changes is replaced, not written to.
        """
        before, epoch, phase = dict(vars(self)), self.now, PHASES[self.now.phase]
        self.running = RunningStats(self.running.mean.clone(), self.running.var.clone())
        alone, norms, losses = phase.learner == "v", Values(), Values()
        passes = [self.passes(getattr(self, phase.architect).arch, phase.learner, inputs)]
        if phase.arch_first and epoch.moving:
            losses = self._move_first(passes[0], batch, inputs, norms)
            passes.append(self.passes(self.arch, "w", inputs))
        teachers = None if alone else self._teachers(phase, inputs)
        weights = getattr(self, phase.learner)
        updates = self._update(phase.learner, inputs, norms), self._update("v", inputs, norms)
        running = None if alone else self.running
        moving = epoch.moving and not phase.arch_first
        options = self._options(inputs, phase)
        step = sgl_step(passes[-1], weights, self.v, batch, options, *updates, inputs.seeds, running, moving, teachers)
        if alone:
            self.v = step.w
        else:
            self.w, self.v = step.w, step.v
        if step.hypergradient is not None:
            self._move(phase.architect, step.hypergradient, norms, step.implicit)
        suffix = "_v" if alone else ""
        values = {f"{name}{suffix}_loss": loss for name, loss in (step.losses | losses).items()}
        others = {f"{name}{suffix}_accuracy": share for name, share in step.accuracies.items()} | norms
        if step.implicit_error is not None:
            others["implicit_error"] = step.implicit_error
        all_passes = [*passes, teachers] if teachers else passes
        counts = {name: sum(getattr(p, name) for p in all_passes) for name in ("forwards", "backwards")}
        report = Report.of(values, others, counts)
        report = report.with_state({name: new for name, new in vars(self).items() if new is not before[name]}, batch)
        return replace(report, values=ranks.mean_over_parts(report.values))

    def next_inputs(self) -> StepInputs:
        """What the next step is given beside its batch."""
        now = self.now
        which = self.space.aux_skip, now.drops or self.noisy, type(self.relaxation) is not Relaxation
        return StepInputs.of(now, self.w, *which, self.config.seed, self.steps)

    def _move_first(self, passes: Passes, batch: Batch, inputs: StepInputs, norms: Values) -> Values:
        """A by its own first-order term at the current W; the validation losses."""
        K = len(self.w)
        targets = one_hot(batch.y_val, self.space.num_classes, K, self.w.dtype)
        seeds = None if inputs.seeds is None else inputs.seeds[-K:]
        rows = VirtualLearners(range(K), self.w, batch.x_val, targets, seeds=seeds, learns=False)
        got = passes.gradients(rows, arch=True)
        gradient, added = passes.regularised(got.arch)
        self._move("architect", gradient, norms)
        return {"val": got.loss, **added}

    def _teachers(self, phase: Phase, inputs: StepInputs) -> Passes | None:
        """Passes of V_k that are frozen, or drop other skips than the W_k do, which is only before the A_k move."""
        if phase.frozen:
            return self.passes(self.architect_v.arch, "v", inputs)
        apart = self.now.v_apart and self.config.teacher == "preliminary"
        return self.passes(self.arch, "v", inputs) if apart else None

    def _update(self, name: str, inputs: StepInputs, norms: Values) -> Update:
        c, lr = self.config, inputs.lr_w if name == "w" else inputs.lr_v

        def update(weights: Tensor, grad: Tensor) -> Tensor:
            buffer = getattr(self, f"momentum_{name}")
            new, buffer, norms[f"grad_norm_{name}"] = sgd(weights, grad, buffer, lr, c.momentum, c.weight_decay, c.clip)
            setattr(self, f"momentum_{name}", buffer)
            return new

        return update

    def _options(self, inputs: StepInputs, phase: Phase) -> Options:
        c = self.config
        shared = {name: getattr(c, name) for name in SHARED}
        rates = {"xi_w": inputs.lr_w, "xi_v": inputs.lr_v}
        return Options(**{**rates, "r": c.radius, "precision": c.perturbed_precision, **shared, **phase.options})

    def _move(self, name: str, gradient: Arch, norms: Values, implicit: Arch | None = None) -> None:
        whole = norms["hypergradient_norm"] = row_norms(gradient.flat())
        part = torch.zeros_like(whole) if implicit is None else row_norms(implicit.flat())
        norms["implicit_share"] = part / torch.where(whole > 0, whole, torch.inf)
        setattr(self, name, getattr(self, name).moved(gradient, self.config))

    def _init_weights(self, draw: torch.Generator) -> Tensor:
        rows = [net.init_weights(1, draw, torch.float32) for net in self.nets]
        width = max(net.num_weights for net in self.nets)
        return torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])

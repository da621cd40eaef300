"""Small-Group Learning: Algorithm 1 with the optimisers of practice, the whole state of a search in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backends.choice import choose
from ..data.batch import Batch
from ..data.seeds import seed_of
from ..data.upload import upload
from ..nets.supernet import Supernet, draw_seeds
from ..ops.flat_update import row_norms, sgd
from ..reference.layers import RunningStats
from ..spaces.arch import Arch, init_arch
from . import ranks
from .arch_adam import ArchAdam
from .config import Config
from .implicit import Step, Update, sgl_step
from .options import Options
from .passes import Passes, Rows, one_hot
from .record import Record, Report
from .schedule import Epoch, epoch_of
from .state_check import check_count, check_like, own
from .step_graph import CudaGraph, Given, GraphedSteps

Norms = dict[str, Tensor]
SHARED = ("lam", "order", "method", "human_labels", "teacher", "explicit_pseudo_label_grad")  # of Config and Options


class Search:
    """K learners: preliminary weights v and weights w (K, P), their momenta, architectures, statistics of w, counters.

    net      one supernet for all learners, or one a learner: those may differ in their operations (P-DARTS), and the
             weights and statistics of a smaller one are padded with zeros at the end
    graph    True: replay the step as one CUDA graph, from the second step of a kind on; False: launch every kernel;
             None: a graph where the backend is cuda or triton and there is one process. The numbers are the same. A
             graph writes to the tensors of the state in place, and a FloatingPointError comes one step late.
    dtype    of the weights, the architectures and the images; float64 has the reference backend alone
    Everything drawn at random depends on config.seed (and, for dropout, the step) alone.
    """

    recorder: type[Any] = CudaGraph

    def __init__(
        self,
        net: Supernet | Sequence[Supernet],
        config: Config | None = None,
        device: torch.device | str = "cpu",
        graph: bool | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        first = net if isinstance(net, Supernet) else net[0]
        self.config = config or Config.preset(first.space.name)
        K = self.config.learners
        self.nets = [net] * K if isinstance(net, Supernet) else list(net)
        if len(self.nets) != K:
            raise ValueError(f"need one net, or one for each of {K} learners; got {len(self.nets)}")
        self.space = first.space
        draw = torch.Generator().manual_seed(self.config.seed)
        self.w = self._init_weights(draw).to(device, dtype)
        self.v = self._init_weights(draw).to(device, dtype)
        archs = [init_arch(self.space, K, draw, torch.float32) for _ in "wv"]
        self.architect, self.architect_v = (ArchAdam(a.map(lambda t: t.to(device, dtype))) for a in archs)
        self.momentum_w, self.momentum_v = torch.zeros_like(self.w), torch.zeros_like(self.v)
        statistics = torch.zeros(K, max(n.num_statistics for n in self.nets), device=device, dtype=dtype)
        self.running = RunningStats(statistics, torch.ones_like(statistics))
        self.steps = 0
        self._graph_wanted, self._graphs = graph, GraphedSteps(self, self.recorder)
        if graph and (self.w.device.type != self.recorder.device_type or ranks.count() > 1):
            raise ValueError(f"need a CUDA device and one process for a graph; got {self.w.device}, {ranks.count()}")

    @property
    def arch(self) -> Arch:
        """The architectures A_k."""
        return self.architect.arch

    def step(self, batch: Batch) -> Mapping[str, Any]:
        """One step on a batch; losses and norms, a list over the learners each, and passes counted.

        implicit_error, of method "frozen" in float32, is an estimate of the implicit terms' relative error, rather too
        large than too small; of the error itself the largest that was measured is 1e-3 on six images of 8 x 8 or 16 x
        16, and 1.4e-2 on four of 8 x 8.
        A loss, a norm or a new state that is not finite is a FloatingPointError that names the step, it and the
        learner; nothing of the state has changed then. Of a graph's step, it comes with the next one, or when the
        record is read.
        """
        if self.graphed:
            return self._graphs.step(batch)
        self.settle()
        return self.launch(batch)

    def settle(self) -> None:
        """Waits for the last step. FloatingPointError, and back to the state before it, where that is not finite."""
        self._graphs.settle()

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
        self.settle()
        tensors, steps = [t.clone() if self.graphed else t for t in self.tensors()], self.steps

        def restore() -> None:
            self.replace_tensors(tensors)
            self.steps = steps

        return restore

    def state_dict(self) -> dict[str, Any]:
        """Tensors, lists, dictionaries and numbers only."""
        self.settle()
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
        self.steps, self._graphs = state["steps"], GraphedSteps(self, self.recorder)

    @property
    def now(self) -> Epoch:
        """What the epoch of the next step has."""
        return self.epoch_of(self.steps)

    def epoch_of(self, step: int) -> Epoch:
        """What the epoch of a step, from 0 on, has."""
        return epoch_of(self.config, self.space, step // self.config.steps_per_epoch)

    def passes(self, arch: Arch, whose: str = "w", epoch: Epoch | None = None) -> Passes:
        """Passes of the W_k or V_k ("w", "v") with these architectures, as the epoch (of the next step) has them."""
        epoch = epoch or self.now
        dropout = {"w": epoch.dropout_w, "v": epoch.dropout_v}[whose]
        options = {"skip_beta": epoch.skip_beta, "skip_dropout": dropout, "precision": self.config.precision}
        return Passes(self.nets, arch, self.config.chunk, **options)

    @property
    def graphed(self) -> bool:
        """Whether steps are replayed as graphs."""
        if self._graph_wanted is not None:
            return self._graph_wanted
        fused = choose(None, self.w.device, self.w.dtype) in ("cuda", "triton")
        return fused and self.w.is_cuda and ranks.count() == 1

    def kind_of(self, batch: Batch) -> Any:
        """Steps of one kind differ only in what tensors hold, so that one graph is right for all of them."""
        images = [(x.shape, x.dtype, x.device) for x in (batch.x_train, batch.x_unlabeled, batch.x_val)]
        backend = choose(None, self.w.device, self.w.dtype)
        return self.now, self.config, backend, images

    def launch(self, batch: Batch) -> dict[str, Any]:
        """A step kernel by kernel; its record is read."""
        batch.check(self.space.num_classes)
        kept = dict(vars(self))
        try:
            record = Record(self.run(batch, self.given()), self.steps).read()
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

    def run(self, batch: Batch, given: Given) -> Report:
        """A step of the current epoch, on the device; everything that changes is replaced, not written to."""
        before = dict(vars(self))
        self.running = RunningStats(self.running.mean.clone(), self.running.var.clone())
        report: Report = getattr(self, f"_{self.now.phase}")(batch, given)
        return report.with_state({name: new for name, new in vars(self).items() if new is not before[name]}, batch)

    def given(self) -> Given:
        """What the next step is given."""
        now, seeds = self.now, None
        if now.dropout:
            draw = torch.Generator().manual_seed(seed_of(self.config.seed, self.steps))
            seeds = upload(draw_seeds(5 * len(self.w), draw), self.w.device)
        rates = torch.tensor([now.lr_w, now.lr_v], dtype=self.w.dtype)
        lr_w, lr_v = upload(rates, self.w.device)
        return Given(lr_w, lr_v, seeds)

    def _joint(self, batch: Batch, given: Given) -> Report:
        """Algorithm 1: V, W, A."""
        return self._together(batch, given, self._options(given), self._apart())

    def _released(self, batch: Batch, given: Given) -> Report:
        """What the released code runs: A by its own first-order term at the current W, then V, then W."""
        norm, losses = Norms(), Norms()
        counted = [self.passes(self.arch)]
        if self.now.moving:
            targets = one_hot(batch.y_val, self.space.num_classes, len(self.w), self.w.dtype)
            seeds = None if given.seeds is None else given.seeds[-len(self.w) :]
            rows = Rows(range(len(self.w)), self.w, batch.x_val, targets, seeds=seeds)
            got = counted[0].gradients(rows, arch=True)
            losses["val"] = got.loss
            self._move("architect", got.arch, norm)
            counted.append(self.passes(self.arch))
        options, teachers = self._options(given, order=1), self._apart()
        step = self._run(counted[-1], batch, given, options, norm, moving=False, teachers=teachers)
        step.losses |= losses
        return self._report(step, norm, *counted, teachers)

    def _pretrain(self, batch: Batch, given: Given) -> Report:
        """Only the preliminary weights learn."""
        return self._alone(batch, given, self.passes(self.arch, "v"))

    def _teachers(self, batch: Batch, given: Given) -> Report:
        """Eq (13): every learner searches B_k with weights V_k on its own."""
        return self._alone(batch, given, self.passes(self.architect_v.arch, "v"))

    def _students(self, batch: Batch, given: Given) -> Report:
        """Eq (14): W and A, on the pseudo-labels of the V and B that stay as they are."""
        options = self._options(given, teacher="frozen")
        return self._together(batch, given, options, self.passes(self.architect_v.arch, "v"))

    def _apart(self) -> Passes | None:
        """Passes of the V_k of stage 1, where they drop other skips than the W_k do; only before the A_k move."""
        same = self.now.dropout_v == self.now.dropout_w or self.config.teacher != "preliminary"
        return None if same else self.passes(self.arch, "v")

    def _together(self, batch: Batch, given: Given, options: Options, teachers: Passes | None) -> Report:
        """W (and V, unless the teachers are frozen) with pseudo-labels, then A."""
        passes, norm = self.passes(self.arch), Norms()
        got = self._run(passes, batch, given, options, norm, self.now.moving, teachers)
        if got.hypergradient is not None:
            self._move("architect", got.hypergradient, norm)
        return self._report(got, norm, passes, teachers)

    def _alone(self, batch: Batch, given: Given, passes: Passes) -> Report:
        """V (and B, if it moves) without pseudo-labels."""
        norm = Norms()
        options = self._options(given, lam=0.0, human_labels=True)
        update = self._updater("v", given.lr_v, norm)
        got = sgl_step(passes, self.v, self.v, batch, options, update, update, given.seeds, None, self.now.moving)
        self.v = got.w
        if got.hypergradient is not None:
            self._move("architect_v", got.hypergradient, norm)
        got.losses, got.accuracies = (
            {f"{name}_v": value for name, value in values.items()} for values in (got.losses, got.accuracies)
        )
        return self._report(got, norm, passes)

    def _run(
        self,
        passes: Passes,
        batch: Batch,
        given: Given,
        options: Options,
        norm: Norms,
        moving: bool,
        teachers: Passes | None,
    ) -> Step:
        updates = self._updater("w", given.lr_w, norm), self._updater("v", given.lr_v, norm)
        got = sgl_step(passes, self.w, self.v, batch, options, *updates, given.seeds, self.running, moving, teachers)
        self.w, self.v = got.w, got.v
        return got

    def _updater(self, name: str, lr: Tensor, norm: Norms) -> Update:
        c = self.config

        def update(weights: Tensor, grad: Tensor) -> Tensor:
            buffer = getattr(self, f"momentum_{name}")
            new, buffer, norm[f"grad_norm_{name}"] = sgd(weights, grad, buffer, lr, c.momentum, c.weight_decay, c.clip)
            setattr(self, f"momentum_{name}", buffer)
            return new

        return update

    def _options(self, given: Given, **changes: Any) -> Options:
        c = self.config
        settings = {
            "xi_w": given.lr_w,
            "xi_v": given.lr_v,
            "r": c.radius,
            "precision": c.perturbed_precision,
            **{name: getattr(c, name) for name in SHARED},
        }
        return Options(**{**settings, **changes})

    def _move(self, name: str, gradient: Arch, norm: Norms) -> None:
        norm["hypergradient_norm"] = row_norms(gradient.flat())
        setattr(self, name, getattr(self, name).moved(gradient, self.config))

    def _report(self, step: Step, norm: Norms, *passes: Passes | None) -> Report:
        counts = {name: sum(getattr(p, name) for p in passes if p) for name in ("forwards", "backwards")}
        losses = {f"{name}_loss": loss for name, loss in step.losses.items()}
        accuracies = {f"{name}_accuracy": value for name, value in step.accuracies.items()}
        if step.implicit_error is not None:
            norm["implicit_error"] = step.implicit_error
        return Report.of(losses, {**accuracies, **norm}, counts)

    def _init_weights(self, draw: torch.Generator) -> Tensor:
        rows = [net.init_weights(1, draw, torch.float32) for net in self.nets]
        width = max(net.num_weights for net in self.nets)
        return torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])

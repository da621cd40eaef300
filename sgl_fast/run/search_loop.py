"""The loop of a search: steps, and at the end of every epoch validation, genotypes, a checkpoint and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..files import write_text_atomic
from ..genotype.derivation import edge_shares
from ..genotype.genotype import Genotype, count_skips
from ..sgl import processes, ranks
from ..sgl.record import check_finite
from ..sgl.search import Search
from ..spaces import KINDS, Space
from .command import Stopped, Unreadable, reading
from .discrete_scores import discrete_scores
from .epoch_table import search_row
from .pictures import draw_search, drawn
from .progress import Progress
from .report import REPORT, write_page
from .run_folder import RunFolder, plain
from .signals import stop_requested
from .sizes import size_of
from .speed import MEASURED, measured_before, peak_memory
from .stages import Stages
from .validate import curvature, validate

CURVED = 100  # validation images, from whose loss the curvature is


def fit(run: RunFolder, stages: Stages, quiet: bool, figures: Sequence[str]) -> None:
    """Searches to the end, with a checkpoint after every epoch.

    figures   formats of the pictures
    Stopped at a signal, Unreadable where a file cannot be read: with a checkpoint there.
    """
    epochs = stages.count * stages.config.total_epochs
    images = 3 * stages.settings["batch_size"]
    quiet, before = quiet or not ranks.is_main(), measured_before(run.read_metrics())
    with stop_requested() as stop, Progress(stages.steps, epochs, images, stages.step, quiet, before=before) as bar:
        loop = Loop(run, stages, bar, lambda: processes.all_reduce_max(stop.signal or 0), figures)
        try:
            while not stages.ended:
                loop.advance()
                loop.check_signal()
        except (Stopped, Unreadable):
            loop.deferred.write()
            run.save(stages.state_dict(), stages.step)
            if ranks.is_main():
                report(run, stages, bar, run.read_metrics(), f"stopped at step {stages.step}")
            raise
        if ranks.is_main():
            records = run.read_metrics()
            keep_genotypes(run, records)
            draw_search(run, stages, bar, records, figures)
            report(run, stages, bar, records, "done")


class DeferredLog:
    """Shows and logs what steps say. A record still on the device waits until the next step is under way."""

    def __init__(self, run: RunFolder, bar: Progress) -> None:
        self.run, self.bar = run, bar
        self._kept: tuple[int, int, Mapping[str, Any], dict[str, float]] | None = None
        self._told = False
        self._losses: list[Sequence[float]] = []

    def add(self, step: int, epoch: int, record: Mapping[str, Any]) -> None:
        self.bar.speed.step()
        measured = self.bar.speed.measured(1)
        self.write()
        self._kept = step, epoch, record, measured

    def write(self, more: Callable[[], dict[str, Any]] = dict) -> dict[str, Any]:
        """The line in the log of the step added last, if it is not written yet; `more` is what else it has."""
        if self._kept is None:
            return {}
        (step, epoch, record, measured), self._kept = self._kept, None
        self.bar.update(step, epoch, record)
        self._tell(step, max(record.get("implicit_error", [0.0])))
        self._losses.append(record.get("train_loss") or record.get("train_v_loss") or [])
        line = {"step": step, "epoch": epoch, **record, **more()}
        line[MEASURED] = {**measured, **line.get(MEASURED, {})}
        self.run.log(line)
        return line

    def mean_losses(self) -> list[float]:
        """Of each learner on the training images, over the steps since the last call."""
        losses, self._losses = [row for row in self._losses if row], []
        return [sum(column) / len(column) for column in zip(*losses, strict=False)]

    def _tell(self, step: int, error: float) -> None:
        """Once: that the second order is not what it is taken for. The log has every step's error."""
        if error > 0.01 and not self._told:
            self._told = True
            self.bar.write(f"step {step}: the implicit terms are off by about {error:.0%}: too few pixels a norm sees")

    @property
    def waits(self) -> bool:
        """Whether the step added last would be waited for."""
        return self._kept is not None and not isinstance(self._kept[2], dict)


class Loop:
    """asked: the number of the signal that came, 0 for none, the same in all processes"""

    def __init__(
        self, run: RunFolder, stages: Stages, bar: Progress, asked: Callable[[], int], figures: Sequence[str]
    ) -> None:
        self.run, self.stages, self.bar, self.asked, self.figures = run, stages, bar, asked, figures
        self.deferred = DeferredLog(run, bar)
        self._next_show = 0.0

    def check_signal(self) -> None:
        """Stopped where a signal came."""
        if signal := self.asked():
            raise Stopped(signal)

    def advance(self) -> None:
        """One step; at the end of an epoch what belongs there."""
        stages = self.stages
        if stages.stage_ended:
            stages.next_stage()
            ops = stages.search.space.ops_per_edge
            self.bar.write(f"stage {stages.stage + 1} of {stages.count}: {ops} ops an edge")
        epoch = stages.epoch + 1
        with self.bar.speed.waiting(), reading():
            batch = stages.feed.batch(stages.step)
        ends = (stages.step + 1) % stages.feed.steps_per_epoch == 0
        before = stages.search.snapshot() if ends else None
        record = stages.search.step(batch)
        self.deferred.add(stages.step, epoch, record)
        if before is not None:
            self._end_epoch(before)
        elif not self.deferred.waits:
            self.deferred.write()

    def _end_epoch(self, before: Callable[[], None]) -> None:
        """Where it does not get through validation, the last step is taken back, and --resume does both again."""
        stages = self.stages
        stages.search.synchronize()
        with self.bar.speed.apart():
            try:
                line = self.deferred.write(lambda: finish_epoch(self.run, stages, self.bar, self.check_signal))
            except (Stopped, Unreadable):
                before()
                raise
            self.bar.row(search_row(line, self.deferred.mean_losses(), self.bar))
            self.run.save(stages.state_dict(), stages.step)
            if ranks.is_main() and not stages.ended:
                records = self.run.read_metrics()
                keep_genotypes(self.run, records)
                self._show(records)

    def _show(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Pictures and report of a run that goes on, where that takes no more than a tenth of its time."""
        begin = time.monotonic()
        if begin < self._next_show:
            return
        draw_search(self.run, self.stages, self.bar, records, self.figures)
        report(self.run, self.stages, self.bar, records, "running")
        end = time.monotonic()
        self._next_show = end + 9 * (end - begin)


def finish_epoch(
    run: RunFolder, stages: Stages, bar: Progress, before_each: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Validation of every learner, its genotype, its skips, and how its cell scores.

    before_each   of `validate`
    """
    search = stages.search
    with reading():
        result = validate(search, stages.feed.validation(100), before_each)
    check_finite(f"step {stages.step}: validation_loss", result["validation_loss"])
    genotypes = stages.genotypes()
    skips = [count_skips(g) for g in genotypes]
    state = {"stage": stages.stage, **probabilities_of(search), **rates_of(search)}
    if search.relaxation.curvature and stages.moved:
        state["hessian_eigenvalue"] = curvature(search, *next(iter(stages.feed.validation(CURVED))))
    if stages.remember(plain({**state, "skips": skips, "genotypes": [as_json(g) for g in genotypes]})):
        bar.write(f"stopped by {search.config.relaxation} after epoch {stages.epoch}: {stages.stopped}")
        genotypes, state = stages.genotypes(), {**state, "stopped": stages.stopped}
        skips = [count_skips(g) for g in genotypes]
    if stages.moved:
        run.write_json("genotype.json", [as_json(g) for g in genotypes])
        run.write_json("best.json", as_json(genotypes[result["best_learner"]]))
    found: dict[str, Any] = {}
    if stages.moved:
        with reading():
            found = discrete_scores(search, genotypes, state, stages.feed.validation(100), before_each)
        found |= described(genotypes, search.space)
    nodes = search.space.nodes
    for k, count in enumerate(skips):
        if count["normal"] > nodes:
            bar.write(f"learner {k} collapses to skips: {count['normal']} of {2 * nodes} in its normal cell")
    measured = {**bar.speed.totals(), "peak_memory": peak_memory(stages.device)}
    return {**result, "skips": skips, **state, **found, MEASURED: measured}


def described(genotypes: Sequence[Genotype], space: Space) -> dict[str, Any]:
    """Every learner's genotype, and the size of its network at the published scale."""
    sizes = [size_of(g, space.num_classes, space.imagenet) for g in genotypes]
    counts = {"parameters": [size.parameters for size in sizes], "multiply_adds": [size.macs for size in sizes]}
    return {"genotypes": [as_json(g) for g in genotypes], **counts}


def probabilities_of(search: Search) -> dict[str, Any]:
    """Of the operations, (K, E, O), and of the edges of each node, (K, E), where the space has betas."""
    arch, learners = search.arch, range(search.config.learners)
    probabilities = search.relaxation.probabilities
    found: dict[str, Any] = {f"alphas_{kind}": probabilities(getattr(arch, f"alphas_{kind}")) for kind in KINDS}
    if search.space.edge_norm:
        found |= {f"betas_{kind}": [edge_shares(search.space, arch, k, kind) for k in learners] for kind in KINDS}
    return found


def rates_of(search: Search) -> dict[str, float]:
    """Learning rates of the epoch that ended."""
    epoch = search.epoch_of(max(0, search.steps - 1))
    return {"lr_w": epoch.lr_w, "lr_v": epoch.lr_v, "arch_lr": search.config.arch_lr if epoch.moving else 0.0}


def as_json(genotype: Genotype) -> Any:
    return json.loads(genotype.to_json())


def report(run: RunFolder, stages: Stages, bar: Progress, records: Sequence[Mapping[str, Any]], state: str) -> None:
    """report.html, once an epoch has ended."""
    from .search_report import search_page

    if any("validation_loss" in record for record in records):
        drawn(bar, REPORT, lambda: write_page(run.path(REPORT), search_page(run, stages, records, state)))


def keep_genotypes(run: RunFolder, records: Sequence[Mapping[str, Any]]) -> None:
    """genotypes.jsonl: those of every epoch that the records hold, a line each."""
    names = ("step", "epoch", "stage", "best_learner", "genotypes")
    lines = [json.dumps({name: r[name] for name in names}) for r in records if "genotypes" in r]
    if lines:
        write_text_atomic(run.path("genotypes.jsonl"), "\n".join(lines) + "\n")

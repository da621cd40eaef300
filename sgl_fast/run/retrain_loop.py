"""The loop of a training from scratch: steps, and at the end of every epoch a test, a checkpoint and the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sgl import processes, ranks
from .command import Stopped, Unreadable, reading
from .epoch_table import retraining_row
from .evaluate_args import GENOTYPE, RESULT
from .pictures import draw, drawn
from .plots import curves_figure
from .progress import Progress
from .report import REPORT, write_page
from .retrain import Retraining
from .retrain_report import retraining_page
from .run_folder import RunFolder
from .signals import stop_requested
from .speed import MEASURED, measured_before, peak_memory
from .weights import AVERAGE, WEIGHTS, save_network

LOOK_EVERY = 20  # steps between two readings of the running numbers, which wait for the device


def fit(run: RunFolder, retraining: Retraining, quiet: bool, figures: list[str]) -> None:
    """Trains to the end, with a checkpoint after every epoch.

    figures   formats of the picture
    Stopped at a signal, Unreadable where a file cannot be read: with a checkpoint there.
    """
    run.write_json(GENOTYPE, run.config["genotype"])
    recipe, shown, quiet = retraining.recipe, dict[str, Any](), quiet or not ranks.is_main()
    before = measured_before(run.read_metrics())
    bar = Progress(retraining.steps, recipe.epochs, recipe.batch_size, retraining.step, quiet, before=before)
    with stop_requested() as stop, bar:

        def check_signal() -> None:
            if signal := processes.all_reduce_max(stop.signal or 0):
                raise Stopped(signal)

        try:
            while not retraining.done:
                if not retraining.epoch_ended:
                    epoch = retraining.epoch + 1
                    with bar.speed.waiting(), reading():
                        batch = retraining.batch()
                    retraining.train_step(batch)
                    if retraining.step % LOOK_EVERY == 0:
                        shown |= retraining.running()
                    bar.speed.step()
                    bar.update(retraining.step, epoch, shown)
                if retraining.epoch_ended:
                    with bar.speed.apart():
                        shown = end_epoch(run, retraining, bar, check_signal)
                        show(run, retraining, bar, figures)
                check_signal()
        except (Stopped, Unreadable):
            run.save(retraining.state_dict(), retraining.step)
            raise
        show(run, retraining, bar, figures)


def end_epoch(
    run: RunFolder, retraining: Retraining, bar: Progress, check_signal: Callable[[], None]
) -> dict[str, Any]:
    """The test, the log and a checkpoint; the epoch's record."""
    before_each = check_signal if ranks.count() == 1 else lambda: None  # others may have a batch less to test
    with reading():
        record = retraining.finish_epoch(before_each)
    measured = {**bar.speed.measured(), "peak_memory": peak_memory(str(retraining.device))}
    run.log({**record, MEASURED: measured})
    bar.row(retraining_row(record, bar))
    run.save(retraining.state_dict(), retraining.step)
    return record


def show(run: RunFolder, retraining: Retraining, bar: Progress, figures: list[str]) -> None:
    """The picture and the page of the epochs so far."""
    if not ranks.is_main():
        return
    records = run.read_metrics()
    draw(run, bar, "curves", figures, lambda: curves_figure(records))
    drawn(bar, REPORT, lambda: write_page(run.path(REPORT), retraining_page(run, retraining, records)))


@dataclass(frozen=True)
class Evaluated:
    """Of a network that is trained: its run's folder, its accuracy on the test images, and what result.json holds."""

    folder: Path
    accuracy: float
    result: dict[str, Any]

    def __str__(self) -> str:
        accuracy, epochs = 100 * self.accuracy, self.result["epoch"]
        return f"test accuracy {accuracy:.2f}% after the last of {epochs} epochs; {self.folder / RESULT}"


def finish(run: RunFolder, retraining: Retraining) -> Evaluated:
    """Writes result.json: the last epoch's accuracy, since the best one would be chosen on tests."""
    result = processes.from_main({**(run.read_metrics() or [{}])[-1], **retraining.sizes})
    run.write_json(RESULT, result)
    if ranks.is_main():
        save_network(run.path(WEIGHTS), retraining.network.state_dict(), retraining.about())
        if retraining.average is not None:
            save_network(run.path(AVERAGE), retraining.average.module.state_dict(), retraining.about())
    return Evaluated(run.folder, result["test_accuracy"], result)

"""The loop of a training from scratch: steps, and at the end of every epoch a test, a checkpoint and the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..sgl import processes, ranks
from .command import Stopped, Unreadable, reading, say_end
from .epoch_table import retraining_row
from .evaluate_args import GENOTYPE, PROG, RESULT
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


def fit(run: RunFolder, retraining: Retraining, quiet: bool, figures: list[str]) -> int:
    """Trains to the end, to a signal or to a file that cannot be read, with a checkpoint there and after every epoch.

    figures   formats of the picture
    Returns the exit code.
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
        except (Stopped, Unreadable) as end:
            run.save(retraining.state_dict(), retraining.step)
            return say_end(PROG, end, retraining.step, run)
        show(run, retraining, bar, figures)
    if ranks.is_main():
        finish(run, retraining)
    return 0


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


def finish(run: RunFolder, retraining: Retraining) -> None:
    """result.json and the line that says it: the last epoch's accuracy, since the best one would be chosen on tests."""
    result = {**run.read_metrics()[-1], **retraining.sizes}
    run.write_json(RESULT, result)
    save_network(run.path(WEIGHTS), retraining.network.state_dict(), retraining.about())
    if retraining.average is not None:
        save_network(run.path(AVERAGE), retraining.average.module.state_dict(), retraining.about())
    accuracy, epochs = result["test_accuracy"], result["epoch"]
    print(f"test accuracy {100 * accuracy:.2f}% after the last of {epochs} epochs; {run.path(RESULT)}")

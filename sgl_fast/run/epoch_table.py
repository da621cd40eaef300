"""The lines of the table that a run prints: one an epoch, 80 columns of it for up to two learners. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from .progress import Progress, spread


def search_row(record: Mapping[str, Any], losses: Sequence[float], bar: Progress) -> dict[str, str]:
    """Of the record that ends an epoch of a search; skips of the normal cells.

    losses   of the learners on the training images, means over the epoch
    """
    best, loss = record["best_learner"], spread(losses, "{:.3f}") if losses else "-"
    bar.result = f"val {record['validation_accuracy'][best]:.1%}"
    return {
        "epoch": f"{record['epoch']}/{bar.epochs}",
        "train loss": f"{loss:>11}",
        "val loss": f"{spread(record['validation_loss'], '{:.3f}'):>11}",
        "val accuracy": spread([100 * a for a in record["validation_accuracy"]], "{:.1f}") + " %",
        "skips": spread([count["normal"] for count in record["skips"]], "{}"),
        "best": str(best),
        **_speed(bar),
    }


def retraining_row(record: Mapping[str, Any], bar: Progress) -> dict[str, str]:
    """Of the record of an epoch of `evaluate`."""
    bar.result = f"test error {100 * (1 - record['test_accuracy']):.2f} %"
    cells = {"epoch": f"{record['epoch']}/{bar.epochs}", "lr": f"{record['lr']:.4f}"}
    for of in ("train", "test"):
        cells |= {f"{of} loss": f"{record[f'{of}_loss']:.3f}"}
        cells |= {f"{of} error": f"{100 * (1 - record[f'{of}_accuracy']):.2f} %"}
    return {**cells, **_speed(bar)}


def _speed(bar: Progress) -> dict[str, str]:
    a_step, _ = bar.speed.recent()
    seconds = bar.speed.totals()["seconds"]
    return {"ms": f"{1000 * a_step:.0f}", "time": f"{tqdm.format_interval(seconds):>7}"}

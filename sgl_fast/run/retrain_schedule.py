"""Learning rate and drop-path rate of each epoch of a training from scratch, in closed form. No torch."""

from __future__ import annotations

import math

from .recipe import Recipe

TAIL = 5  # last epochs of the linear schedule, over which what is left of it is shared out
DECAY = 0.97  # an epoch, of the exponential one


def schedules(recipe: Recipe, epoch: int) -> dict[str, float]:
    """Learning rate and drop-path rate of an epoch, from 0 on."""
    return {"lr": learning_rate(recipe, epoch), "drop_path": recipe.drop_path * (epoch / recipe.epochs)}


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Warm-up reaches the rate of the recipe in its last epoch; the schedule goes by the epoch's number from 0."""
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (epoch + 1) / recipe.warmup_epochs
    shape = {"cosine": cosine, "linear": linear, "exponential": exponential}[recipe.schedule]
    return recipe.lr * shape(epoch, recipe.epochs)


def cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def linear(epoch: int, epochs: int) -> float:
    """P-DARTS's and PC-DARTS's on ImageNet: to one step above 0, then the rest of it over the last five epochs."""
    left, long = epochs - epoch, epochs - TAIL
    if long <= 0:
        return left / epochs
    return (left - TAIL) / long if left > TAIL else left / (long * TAIL)


def exponential(epoch: int, epochs: int) -> float:
    """DARTS's on ImageNet."""
    return DECAY**epoch

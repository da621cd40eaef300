"""Kinds of steps in a whole run: what changes from epoch to epoch is a number on the device, and no kind of its own."""

from __future__ import annotations

import pytest
from networks import batch, space_of
from tape import Tape, same, searches

RUNS = {  # of several epochs: the captures of a whole run, one for each set of phase, motion and teachers apart
    "darts_minus": ({"epochs": 6, "steps_per_epoch": 3, "arch_start": 2}, 2),
    "p_darts": ({"skip_dropout": 0.4, "epochs": 6, "steps_per_epoch": 3, "arch_start": 2}, 2),
    "p_darts_released": (
        {"skip_dropout": 0.4, "schedule": "released", "order": 1, "epochs": 6, "steps_per_epoch": 3}
        | {"pretrain_epochs": 1, "arch_start": 3},
        3,
    ),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_has_few_kinds_of_steps(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-DARTS's rate and DARTS-'s beta are other numbers every epoch: a graph reads them, and is captured no more."""
    changes, kinds = RUNS[kind]
    launched, graphed = searches(space_of(kind), **changes)
    captures: list[Tape] = []
    record = Tape.record
    monkeypatch.setattr(Tape, "record", lambda tape, run: (captures.append(tape), record(tape, run))[1])
    for step in range(18):
        launched.step(batch(step, N=2))
        graphed.step(batch(step, N=2))
    graphed.synchronize()
    assert same(launched, graphed) and len(captures) == kinds

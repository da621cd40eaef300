"""Raw operators are memory-safe: whatever they are given, an error and never a signal."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cells import SETTINGS

from sgl_fast.ops.cell_numbers import HEAD, described, numbers
from sgl_fast.ops.cell_operators import FORWARD
from sgl_fast.spaces import CODES

ROOT = Path(__file__).parents[2]


def test_random_malformed_calls(extension: None, interpreted: None) -> None:
    seed = random.randrange(2**32)
    command = [sys.executable, str(ROOT / "tests" / "malformed.py"), str(seed), "800"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, f"seed {seed}, exit code {done.returncode}: {done.stderr[-2000:]}"
    assert "'ValueError'" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("position", "number", "message"),
    [
        (0, 0, "c_prev_prev from 1 to 1048576; got 0"),
        (3, 9, "8 operations for each of 54 edges; got 40"),
        (4, 3, "channels that 3 divides; got 8"),
        (5, 2, "reduction 0 or 1; got 2"),
        (9, 8, "pool_norm 0 or 1; got 8"),
        (10, 2**40, f"1 to {len(CODES)} operations an edge"),
        (HEAD, -(2**31), f"operations from 0 to {len(CODES) - 1}; got"),
        (HEAD, 2, "an operation once an edge"),
    ],
)
def test_a_malformed_cell_is_named(position: int, number: int, message: str, extension: None) -> None:
    cell = numbers(SETTINGS["normal"].cell)
    cell[position] = number
    with pytest.raises(ValueError, match=f"need a cell of .*{message}"):
        FORWARD.compiled(cell, *[torch.ones(1)] * 5, None, None, None, None, None, "float32")


def test_a_cell_is_told_by_its_numbers() -> None:
    for setting in SETTINGS.values():
        assert numbers(described(numbers(setting.cell)).cell) == numbers(setting.cell)


def test_devices_and_precisions_are_checked(extension: None) -> None:
    """A meta tensor among others is no shape without values; a precision that a kernel has not is no float32."""
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="needs its tensors on one device; got cpu, meta"):
        torch.ops.sgl_fast.perturb(x, x.to("meta"), 0.1)
    cell = SETTINGS["normal"].cell
    from sgl_fast.testing import draw_inputs

    five = [t.float() for t in draw_inputs(SETTINGS["normal"]).tensors if t is not None]
    for precision in ("junk", "bfloat16", "tf32", "float16"):
        with pytest.raises(ValueError, match="need (precision one of|backend)"):
            FORWARD.compiled(numbers(cell), *five, None, None, None, None, None, precision)

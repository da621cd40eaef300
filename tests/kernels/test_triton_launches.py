"""How many kernels Triton compiles for a run, and launches a step; counted in a process of its own, whose kernels are
no interpreted ones."""

from __future__ import annotations

import json
import re

from compiled import ROOT, printed

MOST_KERNELS = 60  # of a run
MOST_LAUNCHES = 1800  # of a second-order step of pc_darts
RUNS = [("pc_darts", 70), ("pc_darts", 90), ("darts", 90), ("p_darts", 90)]
COUNT = f"""
import json
from bench.triton.steps import run_launches, step_launches
print(json.dumps([len(run_launches(*run)) for run in {RUNS}] + [step_launches("pc_darts", 8, 90).total()]))
"""


def test_a_run_compiles_few_kernels_and_launches_few(interpreted: None) -> None:
    """Integers that only count specialise none; what ends a sum goes with its last part."""
    *kernels, launches = json.loads(printed("-c", COUNT))
    assert all(20 < count <= MOST_KERNELS for count in kernels), dict(zip(map(str, RUNS), kernels, strict=True))
    assert MOST_LAUNCHES // 2 < launches <= MOST_LAUNCHES


def test_blocks_of_zeros_are_those_that_every_triton_makes() -> None:
    """tl.zeros takes no field of a structure that is known at compile time before Triton 3.8; tl.full does."""
    for path in (ROOT / "kernels").glob("*.py"):
        assert not re.search(r"tl\.zeros\(\((BLOCK|TILE)\.", path.read_text()), path.name

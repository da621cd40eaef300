"""`make gpu` from its first part to the table that `auto` goes by, without a GPU (pytest --simulated).

The kernels of backend "cuda" are simulated threads behind a stand-in for the driver, the device is the CPU, the sizes
are small; what parts run as commands of their own answers at once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated import StandIn

from bench.gpu import __main__ as gpu
from bench.gpu import floor, kernels, parts, passes, steps, timing, tools
from bench.gpu.passes import Size
from bench.processes import Done
from sgl_fast.backends import choice, measured

TINY: dict[str, int] = {"channels": 4, "layers": 3, "nodes": 1}
SMALL = Size(V=1, N=2, side=8, changes=TINY)
PARTS = (*gpu.FIRST, "ceilings", "sanitizer cuda")


def in_process(command: Sequence[str], limit: float, **how: Any) -> Done:
    """A part, as `bench.gpu` runs it."""
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            code = parts.main(command[3:])
    except SystemExit as end:
        return Done(1, out.getvalue(), str(end), 1.0)
    return Done(code, out.getvalue(), "", 1.0)


@pytest.fixture
def dry(simulated: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where what was measured is written."""
    monkeypatch.setattr(choice, "device_of", lambda name: "cpu")
    for module in (choice, parts):
        monkeypatch.setattr(module, "why_not", lambda name, device=None: "no Triton here" if name == "triton" else None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "stand-in")
    for module in (parts, passes, steps, kernels, tools):
        monkeypatch.setattr(module, "need_gpu", lambda: None)
    for module, name, changes in (
        (timing, "in_turn", {"rounds": 1}),
        (kernels, "pass_of", {"device": "cpu"}),
        (steps, "step_row", {"device": "cpu", "N": 2, "side": 8, **TINY}),
        (floor, "ceilings", {"device": "cpu", "copied": 2**10, "side": 16}),
    ):
        monkeypatch.setattr(module, name, partial(getattr(module, name), **changes))
    monkeypatch.setattr(passes, "timed_passes", lambda who, name, size: TIMED(who, name, SMALL, "cpu"))
    monkeypatch.setattr(kernels, "Size", lambda: SMALL)

    def kernels_of(call: Any) -> list[kernels.Kernel]:
        """By the stand-in, which knows no times."""
        simulated.launched()
        call()
        return kernels.merged((kernel, 1, 0.01) for kernel, *_ in simulated.launched())

    for module in (kernels, steps):
        monkeypatch.setattr(module, "kernels_of", kernels_of)
    monkeypatch.setattr(parts, "measured_ceilings", floor.ceilings)
    monkeypatch.setattr(kernels, "ceilings", floor.ceilings)
    monkeypatch.setattr(parts, "run", lambda *_: Done(0, "29 passed", "", 1.0))
    monkeypatch.setattr(steps, "WARM", 1)
    monkeypatch.setattr(parts, "pass_on_the_end", lambda: None)
    monkeypatch.setattr(gpu, "run", in_process)
    monkeypatch.setattr(gpu, "use_folders", lambda: None)
    monkeypatch.setattr(gpu, "HALVES", {"both": dict.fromkeys(PARTS, 60)})
    monkeypatch.setattr(measured, "PATH", tmp_path / "measured.json")
    (tmp_path / "measured.json").write_text("{}")
    return tmp_path


TIMED = passes.timed_passes


def test_a_dry_run(dry: Path) -> None:
    gpu.main(["--out", str(dry)])
    records = json.loads((dry / "gpu.json").read_text())
    failed = {part: record["error"] for part, record in records.items() if "error" in record}
    assert list(records) == [*gpu.BEFORE, *PARTS] and list(failed) == ["sanitizer cuda"], failed
    results = {part: record.get("result", {}) for part, record in records.items()}
    assert results["environment"]["backend cuda"] == "ready"
    for part in ("passes pc_darts", "steps best"):
        rows = {name: row for name, row in results[part].items() if isinstance(row, dict)}
        assert {"cuda", "reference", "eager"} <= rows.keys() and all(row["ms"] > 0 for row in rows.values())
        assert results[part]["triton"] == "RuntimeError: no Triton here"
        assert rows["cuda"]["to eager"] > 0
    assert results["steps best"]["cuda"]["kernels"] > 100
    assert not {"reference", "eager"} & (results["passes pc_darts ours"].keys() | results["steps best ours"].keys())
    profile = results["profile ours"]
    for kernel in ("convolve_kernel", "dgrad_kernel", "wgrad_kernel"):
        assert profile[f"cuda, {kernel}"].keys() == {
            "launches",
            "ms",
            "share",
            "GB counted",
            "floor, ms",
            "of the floor",
        }
    text = (dry / "gpu.md").read_text()
    assert "## steps best" in text and "| cuda |" in text
    table = json.loads((dry / "measured.json").read_text())
    assert table == {"stand-in": {"cuda": round(results["steps best"]["cuda"]["ms"], 3)}}

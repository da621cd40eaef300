"""The trace of the CUDA kernels computes what they compute; the cost model grows with what the trace counts."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from cells import SETTINGS
from simulated import StandIn
from torch import Tensor

from bench import cuda_model, cuda_trace, cuda_work, gpus
from bench.cuda_trace import Block, Launch, Trace, tracing
from bench.gpus import GPUS, H100, V100
from sgl_fast.backends import device_code
from sgl_fast.ops.mixed_cell import mixed_cell
from sgl_fast.reference.cell import section_of
from sgl_fast.reference.layers import PassContext
from sgl_fast.testing import draw_inputs

ROOT = Path(__file__).parents[2]
CELL = "partial channels"


def forward_and_backward(name: str, backend: str) -> list[Tensor]:
    setting = SETTINGS[name]
    torch.manual_seed(0)
    inputs = draw_inputs(setting).at(torch.float32)
    leaves = [None if t is None else t.detach().requires_grad_() for t in inputs.tensors]
    out = mixed_cell(setting.cell, section_of(setting.cell), *leaves, PassContext(), backend=backend)
    return [out, *torch.autograd.grad(out, [leaf for leaf in leaves if leaf is not None], inputs.grad)]


def traced(simulated: StandIn, trace: Trace, name: str = CELL) -> list[Tensor]:
    with simulated.counting(), tracing(simulated.library, trace):
        return forward_and_backward(name, "cpu")


@pytest.fixture
def launches(simulated: StandIn) -> list[Launch]:
    trace = Trace()
    traced(simulated, trace)
    return trace.launches


def test_the_trace_computes_the_gradients(simulated: StandIn) -> None:
    """Of a cell without tensor cores: every instruction does what PTX says, every block comes to its end."""
    found = traced(simulated, Trace(writes=True))
    for a, b in zip(found, forward_and_backward(CELL, "reference"), strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


def test_no_kernel_of_a_cell_divides_integers(simulated: StandIn) -> None:
    """A division is some twenty instructions; by what the host prepares it is four (csrc/cuda/divisor.h)."""
    units = set(device_code.units()) - {"augment.cu", "flat_update.cu", "pseudo_label.cu", "skip_dropout.cu"}
    divisions = {unit: re.findall(rb"\b(?:div|rem)\.[su]\d+", cuda_trace.ptx_of(unit)) for unit in units}
    assert len(units) >= 8 and not any(divisions.values()), divisions


def test_every_launch_is_traced(simulated: StandIn) -> None:
    trace = Trace()
    traced(simulated, trace)
    told = [(one.kernel, one.grid[0] * one.grid[1] * one.grid[2], one.shared) for one in trace.launches]
    assert told == simulated.launched() and len(told) > 10
    for launch, (_, blocks, _) in zip(trace.launches, told, strict=True):
        assert launch.axis is None or len(launch.blocks) * launch.images == blocks
    assert any(one.last for one in trace.launches)


def test_dram_moves_what_a_node_is_made_of(launches: list[Launch]) -> None:
    """Two states as they are, six operations on the mixed channels of each, and the node; little besides."""
    cell, H = SETTINGS[CELL].cell, SETTINGS[CELL].H
    node = next(one for one in launches if one.kernel == "combine_kernel")
    floats = (2 * cell.channels + 2 * 6 * cell.channels // cell.partial + cell.channels) * H * H
    assert floats <= sum(8 * b.dram_sectors for b in node.blocks) < 1.1 * floats


def test_slower_memory_is_a_longer_chain(simulated: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Trace(), Trace()
    traced(simulated, before)
    monkeypatch.setattr(gpus, "GPUS", tuple(gpu._replace(dram=3 * gpu.dram) for gpu in GPUS))
    traced(simulated, after)
    for one, slower in zip(before.launches, after.launches, strict=True):
        assert [b.slots for b in one.blocks] == [b.slots for b in slower.blocks]
        assert all(b.cycles[0] < s.cycles[0] for b, s in zip(one.blocks, slower.blocks, strict=True) if b.dram_sectors)


def one_launch(images: int = 400, **changes: Any) -> Launch:
    block = Block(1e4, 0, 8, 100, 4e4, 1e3, 1e3, (0.0,) * cuda_trace.UNITS, (2e4,) * len(GPUS))._replace(**changes)
    return Launch("narrow_kernel", (images, 1, 1), 256, 0, [block], [block], 0)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers of three kernels that are not here: a launch of `narrow` has five blocks of a multiprocessor."""
    registers = {"narrow_kernel": 48, "wide_kernel": 80, "wider_kernel": 110}
    known = {(name, gpu.sm): (number, 0) for name, number in registers.items() for gpu in GPUS}
    monkeypatch.setattr(cuda_model, "resources", lambda: known)


@pytest.mark.parametrize(
    "change", [{"slots": 1e6}, {"dram_sectors": 1e5}, {"l2_sectors": 1e6}, {"cycles": (4e4,) * 3}, {"images": 4000}]
)
@pytest.mark.parametrize("gpu", GPUS)
def test_more_to_do_takes_longer(gpu: gpus.Gpu, change: dict[str, Any], made_up: None) -> None:
    least, more = (cuda_model.cost(launch, gpu) for launch in (one_launch(), one_launch(**change)))
    assert 1.05 * least.seconds < more.seconds
    assert least.floor <= least.seconds and more.floor <= more.seconds


def test_a_launch_is_rounds_of_blocks_and_a_tail(made_up: None) -> None:
    """Of five blocks at a time six take two rounds; the last image adds what it has more than the others."""
    chain = 1e6 * cuda_model.CHAIN / V100.hertz
    launch = one_launch(slots=1, l2_sectors=0, dram_sectors=0, cycles=(1e6,) * 3)
    for images, rounds in ((1, 1), (5, 1), (6, 2), (11, 3)):
        assert cuda_model.cost_on(launch, V100, 1, images).seconds == pytest.approx(rounds * chain, rel=1e-3)
    longer = launch._replace(last=[launch.blocks[0]._replace(cycles=(3e6,) * 3)])
    assert cuda_model.cost_on(longer, V100, 1, 1).seconds == pytest.approx(3 * chain, rel=1e-3)


def test_blocks_of_a_multiprocessor(made_up: None) -> None:
    narrow = one_launch()
    wide, wider = narrow._replace(kernel="wide_kernel"), narrow._replace(kernel="wider_kernel")
    for kilobytes, blocks in ((30, 3), (40, 2), (60, 1)):
        assert cuda_model.occupancy(wide._replace(shared=kilobytes << 10), V100) == blocks
    assert cuda_model.occupancy(narrow, V100) == cuda_model.occupancy(narrow, H100) == 5
    assert cuda_model.occupancy(wider, H100) == 2


def test_resources_are_those_of_every_kernel() -> None:
    names = re.findall(r"X\((\w+_kernel\w*)\)", (ROOT / "csrc" / "cuda" / "kernels.h").read_text(encoding="utf-8"))
    assert {(name, gpu.sm) for name in names for gpu in GPUS} <= cuda_model.resources().keys()


def test_an_unknown_instruction_is_told(simulated: StandIn) -> None:
    ptx = ".visible .entry f(\n)\n{\n\tfrobnicate.s32 %r1, %r2;\n\tret;\n}\n"
    with pytest.raises(RuntimeError, match="need a known instruction; got frobnicate.s32"):
        cuda_trace.load(cuda_trace.library(), ptx.encode())


def run_of(name: str, *lines: str) -> Block:
    """Of a warp that runs these instructions."""
    body = "".join(f"\t{line};\n" for line in ("mov.u32 %r1, %tid.x", *lines, "ret"))
    cuda_trace.load(cuda_trace.library(), f".visible .entry {name}(\n)\n{{\n{body}}}\n".encode())
    trace, parameters = Trace(), cast(Any, (ctypes.c_void_p * 1)())
    trace(name.encode(), (1, 1, 1), 32, 1024, parameters)
    return trace.launches[0].blocks[0]


def test_addresses_of_shared_memory_have_32_bits(simulated: StandIn) -> None:
    """The sum is two instructions only where it is needed as a number, too."""
    computed, load = ("mul.wide.u32 %rd1, %r1, 4", "add.s64 %rd2, %rd1, %rd1"), "ld.shared.u32 %r2, [%rd2]"
    assert run_of("address", *computed, load).slots == 3
    assert run_of("number", *computed, "st.shared.u64 [%rd1], %rd2").slots == 4
    assert run_of("both", *computed, load, "st.shared.u64 [%rd1], %rd2").slots == 5


def test_additions_go_to_whichever_unit_has_less(simulated: StandIn) -> None:
    sums, masks = (run_of(f"of_{name[:3]}", *[f"{name} %r2, %r1, %r1"] * 9) for name in ("add.s32", "and.b32"))
    rates = cuda_model.Rates(1, 1)
    assert sums.slots == masks.slots == 9
    assert max(cuda_model.bounds(sums, V100, rates)) == 9 / 4 and max(cuda_model.bounds(masks, V100, rates)) == 9 / 2


def test_the_committed_figures_are_of_this_code() -> None:
    """`make model` writes them, the README's too."""
    table = (ROOT / "bench" / "results" / "cuda_work.md").read_text(encoding="utf-8")
    assert f"Made of `{cuda_work.digest()}`." in table, "the kernels or the model changed: make model"
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(cuda_work.BEGIN)[2].partition(cuda_work.END)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(cuda_work.SPACES) * len(cuda_work.STEPS) and "\n".join(rows) in table


def test_figures_are_of_code_not_of_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in cuda_work.CODE:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    assert cuda_work.digest(tmp_path) == cuda_work.digest()
    file = tmp_path / "csrc" / "cuda" / "combine.cu"
    text = file.read_text(encoding="utf-8")
    file.write_text("// A remark.\n" + text.replace(";", ";  /* another */\n", 1), encoding="utf-8")
    assert cuda_work.digest(tmp_path) == cuda_work.digest()
    file.write_text(text.replace("blockIdx.x", "blockIdx.y", 1), encoding="utf-8")
    assert cuda_work.digest(tmp_path) != cuda_work.digest()
    monkeypatch.setattr(cuda_model, "CHAIN", 2.0)
    before = cuda_work.digest(tmp_path)
    monkeypatch.undo()
    assert before != cuda_work.digest(tmp_path)

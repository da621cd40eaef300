"""Programs of the cells that mixed_cell.cpp runs, as a C++ header: python csrc/tests/programs.py > build/programs.h."""

from __future__ import annotations

from sgl_fast.ops.cell_numbers import numbers
from sgl_fast.ops.cell_operators import TABLES
from sgl_fast.ops.plan import program_of
from sgl_fast.reference.cell import Cell
from sgl_fast.spaces import OPERATIONS, num_edges

ALL = tuple(OPERATIONS)


def cell(
    channels: int, partial: int, kind: str, shrink0: bool, aux: bool, preprocess: bool, ops: tuple[str, ...] = ALL
) -> Cell:
    nodes = 2 if len(ops) > 1 else 1
    return Cell(0, kind, shrink0, 6, 5, channels, nodes, (ops,) * num_edges(nodes), partial, aux, preprocess)


FEW = "max_pool_3x3", "skip_connect", "sep_conv_3x3"
LARGE = Cell(0, "reduce", True, 40, 33, 12, 1, (FEW,) * 2, 1, False, True)
BARE = Cell(0, "reduce", False, 6, 5, 8, 2, (ALL,) * 5, 1, False, True, False)
CELLS = {
    "normal": (cell(8, 1, "normal", False, False, True), 7, 7),
    "reduction_with_skips": (cell(12, 1, "reduce", True, True, True), 10, 6),
    "partial_reduction": (cell(16, 4, "reduce", False, False, True), 8, 12),
    "partial": (cell(20, 4, "normal", False, False, False), 5, 18),
    "many_channels": (cell(16, 1, "normal", False, False, True), 6, 9),
    "many_channels_reduction": (cell(32, 1, "reduce", False, False, False), 8, 8),
    "few_operations": (cell(16, 1, "normal", False, False, False, FEW), 17, 62),
    "bare_pools": (BARE, 6, 10),
    "large_planes": (LARGE, 18, 66),
    "brief_reduction": (cell(4, 2, "reduce", True, False, True, FEW), 4, 6),
    "brief": (cell(16, 1, "normal", False, False, False, ("dil_conv_3x3",)), 5, 28),
}


def braces(row: tuple[int, ...]) -> str:
    return "{" + ", ".join(map(str, row)) + "}"


def main() -> None:
    print(
        '// Written by csrc/tests/programs.py.\n#pragma once\n\n#include "../csrc/program.h"\n\nnamespace programs {\n'
    )
    for name, (shape, H, W) in CELLS.items():
        program = program_of(tuple(numbers(shape)), H, W)
        tables = ["{" + ", ".join(braces(row) for row in getattr(program, table)) + "}" for table in TABLES]
        print(f"inline sgl_fast::Program {name}() {{\n    return sgl_fast::Program({{{braces(program.head)},")
        print(",\n".join(f"        {table}" for table in tables) + "});\n}\n")
    print("}  // namespace programs")


if __name__ == "__main__":
    main()

"""A cell's program as the compiled kernels take it: the same columns in C++, and no row that leads outside."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import torch
from cells import SETTINGS

from sgl_fast.backends.choice import compiled
from sgl_fast.ops import rows
from sgl_fast.ops.cell_numbers import numbers
from sgl_fast.ops.cell_operators import TABLES
from sgl_fast.ops.plan import Program, program_of

HEADER = Path(__file__).parents[2] / "csrc" / "program.h"


def test_the_header_has_the_columns_of_the_rows() -> None:
    structs = re.findall(r"struct (\w+) \{\s+int32_t ([^;]+);\s+\};", HEADER.read_text(encoding="utf-8"))
    found = {name: tuple(re.split(r",\s*", columns)) for name, columns in structs}
    assert set(found) == {"Head", "Conv", "Pool", "Use", "Edge", "Term", "State"}
    assert found == {name: getattr(rows, name)._fields for name in found}


def tables_of(program: Program) -> list[list[list[int]]]:
    return [[list(row) for row in table] for table in ([program.head], *(getattr(program, name) for name in TABLES))]


def test_a_row_of_nonsense_is_refused_or_harmless(extension: None) -> None:
    """Sizes are not among them: tensors are checked against these."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw, make, refused = random.Random(seed), compiled().program, 0
    for setting in SETTINGS.values():
        head, *tables = tables_of(program_of(tuple(numbers(setting.cell)), setting.H, setting.W))
        make(head[0], *tables)
        for table in tables:
            for column in range(len(table[0]) if table else 0):
                row = draw.choice(table)
                kept, row[column] = row[column], draw.choice([-2, -(2**31), 2**31 - 1, 2**20])
                try:
                    make(head[0], *tables)
                except ValueError as error:
                    refused += str(error).startswith("need a program of ")
                row[column] = kept
    assert refused > 20 * len(SETTINGS)


def test_rows_of_other_columns_are_refused(extension: None) -> None:
    setting = SETTINGS["normal"]
    head, *tables = tables_of(program_of(tuple(numbers(setting.cell)), setting.H, setting.W))
    tables[0][3].append(0)
    with pytest.raises(RuntimeError, match="need rows of 21 columns; got 22"):
        compiled().program(head[0], *tables)


def test_equal_programs_have_one_number(extension: None) -> None:
    make, settings = compiled().program, list(SETTINGS.values())[:4]
    programs = [tables_of(program_of(tuple(numbers(one.cell)), one.H, one.W)) for one in settings]
    found = [make(head[0], *tables) for head, *tables in programs]
    assert len(set(found)) == len({repr(program) for program in programs}) > 1
    assert found == [make(head[0], *tables) for head, *tables in programs]


@pytest.mark.parametrize("number", [-1, 2**31, 2**62])
def test_a_number_of_no_program_is_refused(number: int, extension: None) -> None:
    x = torch.ones(1)
    with pytest.raises(RuntimeError, match=f"^need a program that was made; got number {number}$"):
        compiled().mixed_cell(number, x, x, x, x, None, None, None, None, None, None, False)


def test_a_cell_too_large_for_32_bits_is_refused() -> None:
    cell = list(numbers(SETTINGS["normal"].cell))
    cell[2] = 2**18
    with pytest.raises(ValueError, match="need a cell whose offsets fit into 32 bits"):
        Program(tuple(cell), 64, 64)

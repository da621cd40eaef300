"""Counting of machine code, on lines as nvdisasm writes them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("sass", Path(__file__).parents[2] / "csrc" / "tests" / "sass.py")
assert SPEC is not None and SPEC.loader is not None
sass = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sass)

CODE = """
\t.section\t.text.a_kernel,"ax",@progbits
        /*0000*/                   LDG.E.128 R4, [R2.64] ;
        /*0010*/                   LDG.E R8, desc[UR4][R2.64+0x10] ;
        /*0020*/              @!P0 IADD3 R9, R10, 0x1, RZ ;
        /*0030*/                   FADD R0, R7, R9 ;
        /*0040*/                   LD.E R11, [R2.64] ;
        /*0050*/                   SHFL.BFLY PT, R12, R0, 0x10, 0x1f ;
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_1:
        /*0070*/                   ST.E.64 [R2.64], R12 ;
        /*0080*/                   EXIT ;
        /*0090*/                   NOP ;
\t.section\t.text.b_kernel,"ax",@progbits
        /*0000*/                   EXIT ;
"""


def test_code_is_counted() -> None:
    """The first use is of the last of four registers; a load after it begins another group."""
    found = {name: sass.count(body.splitlines()) for name, body in sass.sections(CODE)}
    assert found["a_kernel"] == (9, 1, 1, 2, 3, 1.5, 2)
    assert found["b_kernel"] == (1, 0, 0, 0, 0, 0.0, 0)


def test_stores_use_what_they_store() -> None:
    lines = ["/*0000*/ LDG.E.64 R4, [R2.64] ;", "/*0010*/ STG.E.64 [R8.64], R4 ;", "/*0020*/ LDG.E R6, [R2.64] ;"]
    assert sass.count(lines)[4:] == (2, 1.0, 1)
    assert sass.count([lines[0], lines[2], lines[1]])[4:] == (2, 2.0, 2)

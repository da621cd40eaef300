"""The compiled extension: the stub says what is in the module, operators take what those of sgl_fast take."""

from __future__ import annotations

import ast
import importlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

import sgl_fast
from sgl_fast.backends import extension as parts
from sgl_fast.backends.choice import compiled
from sgl_fast.ops import augment, cell_operators, convolution, flat_update, pseudo_label, skip_dropout

STUB = ast.parse((Path(sgl_fast.__file__).parent / "_C.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
LOADERS = {node.name: node for node in CLASSES["Cuda"].body if isinstance(node, ast.FunctionDef)}
DEFINED_BY = augment, cell_operators, convolution, flat_update, pseudo_label, skip_dropout  # those of sgl_fast

pytestmark = pytest.mark.usefixtures("extension")


def parameters(function: Any) -> int:
    """Of a function of pybind11, from its own words."""
    inside = function.__doc__.partition("(")[2].rpartition(") ->")[0]
    return inside.count("arg")


def stubbed(node: ast.FunctionDef) -> int:
    return len([arg for arg in node.args.posonlyargs if arg.arg != "self"])


def public(module: Any) -> dict[str, Any]:
    return {name: one for name, one in vars(module).items() if not name.startswith("__")}


def test_the_stub_is_of_the_module() -> None:
    module = importlib.import_module("sgl_fast._C")
    for found, stub in ((public(module), FUNCTIONS), (public(module.cuda), LOADERS)):
        found.pop("cuda", None)
        assert {name: parameters(one) for name, one in found.items()} == {n: stubbed(node) for n, node in stub.items()}


def test_every_operator_of_the_library_is_known() -> None:
    names = {
        name for name in torch._C._dispatch_get_all_op_names() if name.startswith(("sgl_fast_cpu::", "sgl_fast_cuda::"))
    }
    cpu = {f"sgl_fast_cpu::{name}" for name in (*parts.OPERATORS, *parts.CPU_OPERATORS)}
    assert names == cpu | {f"sgl_fast_cuda::{name}" for name in parts.OPERATORS}
    assert set(parts.OPERATORS) <= set(vars(compiled().cuda)) and set(parts.CPU_OPERATORS) <= set(vars(compiled()))


@pytest.mark.parametrize("name", [*parts.OPERATORS, *parts.CPU_OPERATORS])
def test_an_operator_takes_and_gives_what_that_of_sgl_fast_does(name: str) -> None:
    """But for the cell, which is a number there, and what is read off before: the precision, replayed patterns."""
    ours, theirs = getattr(torch.ops.sgl_fast, name).default._schema, getattr(compiled(), name)._schema
    renamed = {"cell": ("program", "int"), "precision": ("half", "bool")}
    backward = name == "mixed_cell_backward"
    taken = [renamed.get(arg.name, (arg.name, str(arg.type))) for arg in ours.arguments if arg.name != "replayed"]
    assert taken[: -1 if backward else None] == [(arg.name, str(arg.type)) for arg in theirs.arguments]
    assert [str(one.type) for one in ours.returns] == [str(one.type) for one in theirs.returns]


# The newest that manylinux_2_28 has, whatever the system that compiled: csrc/oldest_system.cpp.
NEWEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11)}


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of systems with glibc")
@pytest.mark.parametrize("part", [parts.LIBRARY.name, f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"])
def test_wheels_run_where_those_of_torch_do(part: str) -> None:
    command = ["nm", "--dynamic", "--undefined-only", "--with-symbol-versions", str(parts.LIBRARY.with_name(part))]
    asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.findall(r"(\S+)@(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)$", asked, re.MULTILINE)
    assert {system for _, system, _ in found} == set(NEWEST)
    assert not [name for name, system, version in found if tuple(map(int, version.split("."))) > NEWEST[system]]


ALONE = """
import sys, torch
torch.ops.load_library(sys.argv[1])
assert "sgl_fast" not in sys.modules
print(torch.ops.sgl_fast_cpu.row_norms(torch.tensor([[3.0, 4.0]])).item())
"""


def test_the_library_needs_no_python() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(parts.LIBRARY)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "5.0\n", done.stderr


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
def test_the_library_takes_of_torch_its_stable_abi_alone() -> None:
    """Which is functions of C; and of Python nothing."""
    command = ["nm", "--dynamic", "--undefined-only", str(parts.LIBRARY)]
    asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    names = {name.partition("@")[0] for name in asked}
    assert sum(name.startswith(("aoti_torch_", "torch_")) for name in names) > 20
    assert not {name for name in names if re.match(r"_ZN?K?(2at|3c10|5torch)|_?Py", name)}


def test_large_results_lie_in_blocks_of_whole_pages() -> None:
    """Which are kept for the next result; before 2.11 torch takes no memory that it is to give back."""
    w = torch.ones(1, 2**19)
    weights, buffer, _ = compiled().sgd(w, w, w, torch.tensor(0.1), 0.9, 0.0, 0.0)
    aligned = [tensor.data_ptr() % 2**21 == 0 for tensor in (weights, buffer)]
    assert aligned == [tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11)] * 2

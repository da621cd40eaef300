"""The stub of the compiled extension says what is in it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import sgl_fast
from sgl_fast.backends.choice import compiled

STUB = ast.parse((Path(sgl_fast.__file__).parent / "_C.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
LOADERS = {node.name: node for node in CLASSES["Cuda"].body if isinstance(node, ast.FunctionDef)}


def parameters(function: Any) -> int:
    """Of a function of pybind11, from its own words."""
    inside = function.__doc__.partition("(")[2].rpartition(") ->")[0]
    return inside.count("arg")


def stubbed(node: ast.FunctionDef) -> int:
    return len([arg for arg in node.args.posonlyargs if arg.arg != "self"])


@pytest.mark.usefixtures("extension")
def test_the_stub_is_of_the_extension() -> None:
    module = compiled()
    public = {name for name in vars(module) if not name.startswith("__")}
    assert public == {*FUNCTIONS, "Program", "cuda"}
    assert all(parameters(getattr(module, name)) == stubbed(node) for name, node in FUNCTIONS.items())
    on_cuda = {name for name in vars(module.cuda) if not name.startswith("__")}
    assert on_cuda == {*LOADERS, *(name for name in FUNCTIONS if name != "isa" and not name.startswith("conv"))}
    (init,) = (node for node in CLASSES["Program"].body if isinstance(node, ast.FunctionDef))
    assert parameters(module.Program.__init__) == stubbed(init)

"""Who imports whom: no cycles, only declared dependencies, and no torch before a command line has parsed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sgl_fast"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {module_name(path): ast.parse(path.read_text(), path.name) for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {module_name(path) for path in PACKAGE.rglob("__init__.py")}
COMMANDS = [name for name in TREES if name.endswith("_args") or f"{name}_args" in TREES] + ["sgl_fast.doctor"]


def targets(module: str, node: ast.AST) -> list[str]:
    """Absolute names that an import statement names; those inside the package are its modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    home = node.module or ""
    if node.level:
        parts = module.split(".")
        depth = len(parts) - node.level + (module in PACKAGES)
        home = ".".join(parts[:depth] + ([node.module] if node.module else []))
    inside = [f"{home}.{alias.name}" for alias in node.names]
    modules = [name for name in inside if name in TREES]
    return modules if len(modules) == len(inside) else [home, *modules]


def imports(module: str) -> set[str]:
    """Every import of a module, those inside functions included."""
    return {name for node in ast.walk(TREES[module]) for name in targets(module, node)}


def test_targets_are_resolved() -> None:
    """The reader of imports itself, on statements of each form."""

    def read(module: str, line: str) -> list[str]:
        return targets(module, ast.parse(line).body[0])

    assert read("sgl_fast.walk", "from .layout import Section") == ["sgl_fast.layout"]
    assert read("sgl_fast.walk", "from . import layout") == ["sgl_fast.layout"]
    assert read("sgl_fast.walk", "from . import __version__") == ["sgl_fast"]
    assert read("sgl_fast.data.loader", "from ..batch import Batch") == ["sgl_fast.batch"]
    assert read("sgl_fast.spaces", "from .darts import darts") == ["sgl_fast.spaces.darts"]
    assert read("sgl_fast.walk", "import torch.nn.functional as F") == ["torch.nn.functional"]


def test_no_cycles() -> None:
    graph = {module: imports(module) & set(TREES) - {module} for module in TREES}
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the modules of a cycle
    assert set(order) == set(TREES)
    assert order.index("sgl_fast.spaces") < order.index("sgl_fast.layout") < order.index("sgl_fast.supernet")


def test_third_parties_are_declared() -> None:
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M)
    assert declared is not None
    names = set(re.findall(r'"([A-Za-z_]+)', declared[1])) | {"PIL", "sgl_fast"}
    roots = {name.partition(".")[0]: module for module in TREES for name in imports(module)}
    strangers = {root: module for root, module in roots.items() if root not in names | set(sys.stdlib_module_names)}
    assert not strangers


def test_spaces_and_layout_know_no_torch() -> None:
    """Sizes and offsets are plain numbers, which a command line may ask for before torch is there."""
    for module in TREES:
        if module.startswith("sgl_fast.spaces") or module == "sgl_fast.layout":
            assert not any(name.startswith("torch") for name in imports(module)), module


@pytest.mark.parametrize("module", ["sgl_fast", "sgl_fast.spaces", "sgl_fast.layout", "sgl_fast.backend", *COMMANDS])
def test_no_torch_before_parsing(module: str) -> None:
    check = f"import sys, sgl_fast, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=60).returncode == 0


def test_commands_are_found() -> None:
    assert {"sgl_fast.evaluate", "sgl_fast.evaluate_args"} <= set(COMMANDS)

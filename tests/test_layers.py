"""Who imports whom: rooms those below them, no cycles, declared dependencies, no torch before a command has parsed."""

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


# A room imports rooms of lower floors, and its own modules. The files at the top are rooms, too.
FLOORS = (
    ("errors", "files", "integers", "limits", "printed"),
    ("setting",),
    ("backends", "spaces"),
    ("genotype", "reference"),
    ("ops", "relaxations"),
    ("data", "dropin", "nets", "testing"),
    ("sgl",),
    ("run",),
    ("timm_models",),
    ("compare", "doctor", "evaluate", "export", "search"),
    ("precompile", "reproduce"),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = sorted({*PACKAGE.rglob("*.py"), *(PACKAGE / "kernels").glob("*.py")})  # rglob need not follow a link
TREES = {module_name(path): ast.parse(path.read_text(), path.name) for path in FILES}
PACKAGES = {module_name(path) for path in FILES if path.stem == "__init__"}
COMMANDS = [
    *(name for name in TREES if name.endswith("_args")),
    *(f"sgl_fast.{name}" for floor in FLOORS[-3:] for name in floor),
    "sgl_fast.reproduce.paper",
]


def targets(module: str, node: ast.AST) -> list[str]:
    """Absolute names that an import statement names; those inside the package are its modules. Everybody may read the
    version.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom) or [alias.name for alias in node.names] == ["__version__"]:
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

    assert read("sgl_fast.reference.layers", "from .cell import Section") == ["sgl_fast.reference.cell"]
    assert read("sgl_fast.reference.layers", "from . import cell") == ["sgl_fast.reference.cell"]
    assert read("sgl_fast.search", "from . import __version__") == []
    assert read("sgl_fast.search", "from . import Network") == ["sgl_fast"]
    assert read("sgl_fast.data.loader", "from ..errors import reason") == ["sgl_fast.errors"]
    assert read("sgl_fast.spaces", "from .darts import darts") == ["sgl_fast.spaces.darts"]
    assert read("sgl_fast.reference.layers", "import torch.nn.functional as F") == ["torch.nn.functional"]


def test_no_cycles() -> None:
    graph = {module: imports(module) & set(TREES) - {module} for module in TREES}
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the modules of a cycle
    assert set(order) == set(TREES)


def room_of(module: str) -> str:
    """Operations and the Triton kernels, which a link puts into the package, are one room."""
    return module.split(".")[1].replace("kernels", "ops") if "." in module else ""


def test_rooms_import_rooms_below_them() -> None:
    """Functions that import late are no way around it."""
    assert {room_of(module) for module in TREES} == {"", *FLOOR}
    for module in TREES:
        room = room_of(module)
        others = {room_of(name) for name in imports(module) if name.startswith("sgl_fast")} - {room, ""}
        assert not [other for other in others if FLOOR[other] >= FLOOR.get(room, len(FLOORS))], (module, others)


def test_the_specification_loads_no_compiled_code() -> None:
    check = (
        "import sys, sgl_fast.reference.mixed_cell, sgl_fast.reference.layers, sgl_fast.reference.flat;"
        "sys.exit(any(name.startswith(('sgl_fast._C', 'sgl_fast.ops', 'sgl_fast.kernels')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=60).returncode == 0


def test_third_parties_are_declared() -> None:
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M)
    assert declared is not None
    extras = {"onnx", "onnxruntime", "onnxscript", "submitit", "timm", "wandb"}
    standard = {*sys.stdlib_module_names, "tomllib"}  # which Python 3.10 calls tomli
    names = {*re.findall(r'"([A-Za-z_]\w*)', declared[1]), "PIL", "sgl_fast", "triton", *extras}  # torch brings triton
    roots = {name.partition(".")[0]: module for module in TREES for name in imports(module)}
    strangers = {root: module for root, module in roots.items() if root not in names | standard}
    assert not strangers


def test_contributing_shows_the_floors() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    shown = {int(floor): {*re.findall(r"`(\w+)(?:/|\.py)`", text)} - {"kernels"} for floor, text in rows}
    assert shown == dict(enumerate(map(set, FLOORS)))


def test_spaces_and_layout_know_no_torch() -> None:
    """Sizes and offsets are plain numbers, which a command line may ask for before torch is there."""
    for module in TREES:
        sizes = module.startswith("sgl_fast.spaces") and module != "sgl_fast.spaces.arch"
        if sizes or module in ("sgl_fast.reference.cell", "sgl_fast.nets.layout"):
            assert not any(name.startswith("torch") for name in imports(module)), module


@pytest.mark.parametrize(
    "module", ["sgl_fast", "sgl_fast.spaces", "sgl_fast.nets.layout", "sgl_fast.backends.choice", *COMMANDS]
)
def test_no_torch_before_parsing(module: str) -> None:
    check = f"import sys, sgl_fast, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=60).returncode == 0


def test_no_module_loads_torchs_compiler() -> None:
    """Its import takes as long as all else of torch. torchvision and timm bring it, for those who use them."""
    modules = (name for name in TREES if not name.startswith(("sgl_fast.kernels", "sgl_fast.timm_models")))
    check = f"import sys, {', '.join(modules)}; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=600).returncode == 0


def test_commands_are_found() -> None:
    assert {"sgl_fast.evaluate", "sgl_fast.doctor", "sgl_fast.run.evaluate_args"} <= set(COMMANDS)

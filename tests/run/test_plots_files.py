"""Pictures as files: kept where drawing fails, and the same whatever the user's matplotlib is set to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from sgl_fast.run import plots

ROOT = Path(__file__).parents[2]
RECORDS = [{"step": s, "epoch": s, "train_loss": [1.0, 2.0]} for s in (1, 2, 3)]


def test_a_failing_plot_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def fail(figure: Figure, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise RuntimeError

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        plots.save(plots.curves_figure(RECORDS), tmp_path / "curves")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_import_is_light_and_pyplot_stays_out(tmp_path: Path) -> None:
    code = """
import sys
from sgl_fast.run import plots
assert not {"torch", "matplotlib"} & set(sys.modules)
plots.save(plots.curves_figure([{"step": 1, "epoch": 1, "train_loss": 1.0}]), sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], check=True)


DRAWN = """
import hashlib, os, sys
from pathlib import Path
from sgl_fast.run import plots
from sgl_fast.genotype.published import genotypes
folder = Path(sys.argv[1])
plots.save(plots.cells_figure([genotypes.DARTS_V2], ["$x_$ \u65e5"]), folder / "cells")
records = [{"step": s, "epoch": s, "train_loss": [1.0, 2.0]} for s in (1, 2)]
plots.save(plots.curves_figure(records, {1: "a_$^$"}), folder / "curves")
ops = {kind: [["none", "$_^$"]] * 2 for kind in ("normal", "reduce")}
entry = {"step": 1, "epoch": 1, **{f"alphas_{k}": [[[.5, .5]] * 2] for k in ops}}
plots.save(plots.alphas_figure([entry], [ops]), folder / "alphas")
paths = [folder / f"{name}.{form}" for name in ("cells", "curves", "alphas") for form in plots.FORMATS]
print([hashlib.md5(path.read_bytes()).hexdigest() for path in paths])
"""
ODD = {"figure.dpi": 30, "font.family": "No Such Font", "text.usetex": True, "figure.autolayout": True}


def drawn(tmp_path: Path, **environment: str) -> str:
    """Digests of three pictures, drawn by a process in which every warning is an error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MPL")} | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-W", "error", "-c", DRAWN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pictures_do_not_depend_on_the_users_matplotlib(tmp_path: Path) -> None:
    """The backend of a notebook, which its shell lacks; a matplotlibrc; labels that are no mathematics."""
    plain = drawn(tmp_path)
    assert drawn(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline") == plain
    lines = [*(f"{name}: {value}" for name, value in ODD.items()), "savefig.bbox: tight", "no.key: 1", "backend: nope"]
    (tmp_path / "matplotlibrc").write_text("\n".join(lines))
    assert drawn(tmp_path, MPLBACKEND="nope") == plain


def test_the_users_settings_are_left_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    plots.save(plots.curves_figure(RECORDS), tmp_path / "a", ["png"])
    with matplotlib.rc_context(ODD):
        before = dict(matplotlib.rcParams)
        plots.save(plots.curves_figure(RECORDS), tmp_path / "b", ["png"])
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

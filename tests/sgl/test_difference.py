"""What `frozen` promises by its defaults, down to images of 8 x 8, and what a step says of the error of its own."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import F64, batch, small
from torch import Tensor

from sgl_fast.data.batch import Batch
from sgl_fast.nets.supernet import draw_seeds
from sgl_fast.run.progress import Progress
from sgl_fast.run.run_folder import RunFolder
from sgl_fast.run.search_loop import DeferredLog
from sgl_fast.sgl import difference
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.difference import estimates
from sgl_fast.sgl.hypergradient import hypergradient
from sgl_fast.sgl.options import Options
from sgl_fast.sgl.passes import Passes, PassOptions
from sgl_fast.sgl.search import Search
from sgl_fast.sgl.step import Step, sgl_step
from sgl_fast.spaces.arch import Arch

XI = 0.1
PROMISED = 1e-3
CASES = [(name, K, 8) for name in ("darts", "darts_minus", "pc_darts") for K in (1, 2, 3)]
CASES += [("p_darts", 2, 8), ("darts", 3, 16), ("darts_minus", 2, 16), ("pc_darts", 2, 16), ("p_darts", 1, 16)]


class Problem:
    """Learners that nobody has trained, of four cells of one node, and batches of three images, in float64.

    On images of 8 x 8 the norms of its last cells see 12 pixels, and r = 0.01 is 100 % off.
    """

    def __init__(self, name: str, K: int, side: int) -> None:
        self.net = small(name, channels=8 if name == "pc_darts" else 4, layers=4, nodes=1)
        draw = torch.Generator().manual_seed(K)
        self.w, self.v = (self.net.init_weights(K, draw, F64) for _ in range(2))
        self.arch = self.net.init_arch(K, draw, F64)
        self.batch: Batch = batch(K, N=3, side=side).to(dtype=F64)
        self.dropout = 0.3 if name == "p_darts" else 0.0
        self.direct = self.step(order=1).hypergradient

    def step(self, **options: Any) -> Step:
        def plain(weights: Tensor, grad: Tensor) -> Tensor:
            return weights - XI * grad

        passes = Passes(self.net, self.arch, None, PassOptions(skip_dropout=self.dropout))
        given = Options(XI, XI, explicit_pseudo_label_grad=True, **options)
        seeds = draw_seeds(5 * len(self.w), torch.Generator().manual_seed(0))
        return sgl_step(passes, self.w, self.v, self.batch, given, plain, plain, seeds)

    def by_default(self) -> Arch:
        model = {"skip_dropout": self.dropout, "generator": torch.Generator().manual_seed(0)}
        state = self.w, self.v, self.arch, self.batch
        return hypergradient(self.net, *state, XI, XI, explicit_pseudo_label_grad=True, **model)  # type: ignore[arg-type]

    def errors(self, h: Arch | None, want: Arch | None) -> Tensor:
        """Of the implicit terms, relative, (K)."""
        assert h is not None and want is not None and self.direct is not None
        return (h.flat() - want.flat()).norm(dim=1) / (want.flat() - self.direct.flat()).norm(dim=1)


@pytest.mark.parametrize(("name", "K", "side"), CASES)
def test_the_default_keeps_its_promise(name: str, K: int, side: int) -> None:
    problem = Problem(name, K, side)
    want = problem.step(method="exact").hypergradient
    assert problem.errors(problem.by_default(), want).max() < PROMISED
    step = problem.step()
    assert step.implicit_error is not None
    share = step.implicit_error / problem.errors(step.hypergradient, want)
    assert share.min() > 0.5 and share.max() < 200


def test_what_is_off_is_run_again_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learner by learner, nearer; at r = 1e-5 rounding is what is off, and the radius grows."""
    problem, radii = Problem("darts", 2, 8), []
    original = difference.difference

    def spied(passes: Any, rows: Any, direction: Tensor, options: Options, r: float) -> Any:
        radii.append((len(rows.learners), r))
        return original(passes, rows, direction, options, r)

    monkeypatch.setattr(difference, "difference", spied)
    problem.step()
    assert radii == [(2, 1e-3)] * 3
    radii.clear()
    problem.step(refine=True)
    again = [r for V, r in radii if V == 1]
    assert len(radii) == 3 + len(again) < 9 and all(1e-5 <= r < 1e-3 for r in again)
    problem.w, problem.v, problem.arch = problem.w.float(), problem.v.float(), problem.arch.map(Tensor.float)
    problem.batch = problem.batch.to(dtype=torch.float32)
    radii.clear()
    problem.step(refine=True, r=1e-5)
    assert {r for V, r in radii if V == 1 and r > 1e-5}


def test_estimates_of_a_bent_line() -> None:
    """f(e) = a + b e + c e^2 bends by |c| e / |b|; equal ends are no error, a wild line is 100 % of one."""
    a, b, c, e = torch.tensor([[3.0, 4.0]], dtype=F64), torch.tensor([[0.0, 2.0]], dtype=F64), 0.5, 1e-2
    plus, minus = (a + s * e * b + c * e**2 for s in (1, -1))
    curved, rounded = estimates(torch.cat([plus, minus]), a, 2.0**-24)
    bent = torch.full_like(a, c * e**2).norm() / (e * b).norm()
    torch.testing.assert_close(curved, difference.CURVED * bent.view(1) ** 2)
    torch.testing.assert_close(rounded, difference.ROUNDED * 2.0**-24 * a.norm(dim=1) / (e * b).norm())
    for ends, most in ((torch.cat([plus, plus]), 0.0), (torch.cat([0 * a, 0 * a + 1e-100]), 1.0)):
        assert all(t == most for t in estimates(ends, a + 1, 2.0**-24))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_search_says_it(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both kinds of pass have one precision, and of `frozen` alone."""
    forward = Passes.forward
    monkeypatch.setattr(
        Passes, "forward", lambda *args, **state: forward(*args[:4], replace(args[4], precision="float32"), **state)
    )
    config = Config.preset("pc_darts", arch_start=0, precision=precision)
    record = Search(small("pc_darts"), config).step(batch(0))
    assert ("implicit_error" in record) == (precision == "float32")
    if precision == "float32":
        assert all(0 < e < 1e-2 for e in record["implicit_error"])
        plain = Config.preset("pc_darts", "paper", arch_start=0)
        assert "implicit_error" not in Search(small("pc_darts"), plain).step(batch(0))


def test_a_run_says_it_once(tmp_path: Path) -> None:
    said = io.StringIO()
    with RunFolder.create(tmp_path / "run") as run, Progress(9, 1, 1, quiet=True, file=said) as bar:
        deferred = DeferredLog(run, bar)
        for step, error in enumerate((1e-3, 0.5, 0.3), 1):
            deferred.add(step, 1, {"implicit_error": [1e-4, error]})
        deferred.write()
        found = [r["implicit_error"][1] for r in run.read_metrics()]
    assert found == [1e-3, 0.5, 0.3]
    assert said.getvalue().count("implicit terms") == 1
    assert "step 2: the implicit terms are off by about 50%" in said.getvalue()

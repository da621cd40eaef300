"""What `make gpu` compiles before its clock starts: the kernels of its parts, found without a GPU."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest
from compiled import ROOT, printed

from bench.gpu import caches, folders

FOUND = """
import json
from bench.gpu.caches import launches, runs, searched, tested
import bench.gpu.caches as caches
few = caches.tested(90, "triton and (flat or dropout)")
*_, small, doctor = runs()
caches.runs, caches.tested, caches.searched = lambda: [small, doctor], lambda arch: few, lambda arch: type(few)()
print(json.dumps([sorted({one.kernel for one in some}) for some in (few, launches(90))]))
"""


def test_kernels_of_tests_and_runs_are_found(interpreted: None) -> None:
    """In a process of its own, whose kernels are no interpreted ones."""
    tested, everything = map(set, json.loads(printed("-c", FOUND)))
    assert {"sgd_kernel", "perturb_kernel", "dropout_masks_kernel"} <= tested
    assert "stage_kernel" not in tested
    assert {"stage_kernel", "state_grad_kernel", "augment_kernel", "alpha_beta_grad_kernel"} <= everything - tested


def test_all_of_it_is_compiled_into_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    for name in folders.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(caches, "launches", lambda arch: Counter({f"kernel of {arch}": 3}))
    monkeypatch.setattr(caches, "cuda", lambda architectures: seen.update(cuda=architectures) or ["cuda: no"])
    monkeypatch.setattr(caches, "triton", lambda launches, jobs: seen.update(triton=launches) or [])
    assert caches.main(["--arch", "sm_70,sm_90"]) == 1
    assert seen == {"cuda": [70, 90], "triton": [("kernel of 70", 70), ("kernel of 90", 90)]}
    assert os.environ["TRITON_CACHE_DIR"] == str(ROOT / "build" / "caches" / "triton")
    assert os.environ["SGL_FAST_CACHE"] == str(ROOT / "build" / "caches" / "cuda")


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        caches.main(["--arch", "sm_1"])
    assert end.value.code == 2 and "--arch: need some of sm_70" in capsys.readouterr().err

"""How far a pass raises the memory of a fresh process: the module prints the bytes, given a request in JSON."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import sgl_fast
from sgl_fast.backends.choice import asked_for

from .contenders import fused_pass

STATUS = Path("/proc/self/status")
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Request:
    """A forward and backward of the supernet; most: bytes that it may take, so that it never swaps the machine."""

    space: str
    sizes: dict[str, int]
    images: int
    learners: int
    side: int
    most: int


def peak_of_a_pass(request: Request) -> int:
    """Bytes at the peak above those before the pass. MemoryError where it would take more than request.most."""
    command = [sys.executable, "-m", "bench.peak", json.dumps(asdict(request))]
    env = os.environ | {"SGL_FAST_BACKEND": asked_for() or "auto"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise MemoryError(f"need a pass within {request.most} bytes; got {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def status(field: str) -> int:
    """Bytes of this process: VmRSS resident now, VmHWM at most so far, VmData reserved."""
    line = next(x for x in STATUS.read_text(encoding="utf-8").splitlines() if x.startswith(field))
    return 1024 * int(line.split()[1])


def measured(request: Request) -> int:
    net = sgl_fast.Supernet(sgl_fast.space(request.space, **request.sizes))
    weights, side = net.init_weights(request.learners), request.side

    def call(images: int) -> None:
        fused_pass(net, weights, torch.randn(images, 3, side, side), torch.zeros(images, dtype=torch.int64))()

    call(2)  # what is loaded once and kept is not the pass's
    resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + request.most,) * 2)
    before = status("VmRSS")
    call(request.images)
    return status("VmHWM") - before


if __name__ == "__main__":
    print(measured(Request(**json.loads(sys.argv[1]))))

"""The parts of a GPU run; see `gpu`. Each yields what it finds as it finds it: a name and what JSON can say.

python -m bench.gpu.parts "PART ARGUMENT ..." [--without CONTENDER] prints a line of JSON a finding. The last argument
may be "ours": of the contenders the backends of a GPU alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sgl_fast.backends.choice import BACKENDS, why_not
from sgl_fast.run.machine import facts

from ..processes import pass_on_the_end, run
from . import BROKEN
from .floor import ceilings as measured_ceilings
from .kernels import profile
from .passes import compiled, passes
from .steps import search, steps
from .table import OURS
from .timing import CONTENDERS, Broken, Found, need_gpu
from .tools import counters, sanitizer

TO_TELL = 10  # seconds of a part's limit in which it tells what a command that it cut off had said
_limit = {"seconds": 600.0}


def environment(_: Sequence[str]) -> Found:
    yield from facts()
    for name in BACKENDS:
        yield f"backend {name}", why_not(name) or "ready"
    if torch.cuda.is_available():
        yield "multiprocessors", torch.cuda.get_device_properties(0).multi_processor_count


def ceilings(_: Sequence[str]) -> Found:
    """What the GPU reaches at best: copies and products of matrices."""
    need_gpu()
    best = measured_ceilings()
    yield "copy, GB/s", best.moved / 1e9
    for name in ("float32", "tf32", "float16"):
        yield f"product {name}, TFLOP/s", getattr(best, name) / 1e12


def build(_: Sequence[str]) -> Found:
    """The extension."""
    need_gpu()
    built = run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], left(), {"SGL_FAST_EXT": "1"})
    if built.code != 0:
        yield "said", built.said[-3000:]
    yield "seconds of the build", round(built.seconds, 1)
    refuse("build", built.code)


def doctor(_: Sequence[str]) -> Found:
    """What the doctor says."""
    need_gpu()
    done = run([sys.executable, "-m", "sgl_fast.doctor"], left())
    yield "said", done.out.strip() + done.err[-1500:]
    refuse("doctor", done.code)


def caches(_: Sequence[str]) -> Found:
    """The machine code of all parts' kernels, in a process a core, as far as it is not there yet."""
    need_gpu()
    done = run([sys.executable, "-m", "bench.gpu.caches"], left())
    yield "said", done.said[-3000:]
    refuse("caches", done.code)


def tests(_: Sequence[str], backend: str) -> Found:
    """The tests on the device, of one backend."""
    need_gpu()
    command = [sys.executable, "-u", "-m", "pytest", "-vv", "-rs", "--tb=short", "--durations=5"]
    done = run([*command, "tests/bench/test_gpu.py", "-k", backend], left())
    yield "said", done.said[-6000:]
    refuse("tests", done.code)
    if not re.search(r"\b\d+ passed", done.said):
        reasons = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)", done.said, re.MULTILINE) or ["there is none"]
        raise SystemExit(f"tests: none ran; {reasons[0]}")


def left() -> float:
    """Seconds that a command of this part may take."""
    return _limit["seconds"] - TO_TELL


def refuse(what: str, code: int | None) -> None:
    """SystemExit unless it ended well."""
    if code is None:
        raise SystemExit(f"{what}: not done in time")
    if code:
        raise SystemExit(f"{what}: exit code {code}")


EVERY = (
    environment,
    ceilings,
    build,
    caches,
    doctor,
    tests,
    passes,
    compiled,
    steps,
    search,
    profile,
    sanitizer,
    counters,
)
PARTS: dict[str, Callable[..., Found]] = {part.__name__: part for part in EVERY}


def say(name: str, value: Any) -> None:
    print(json.dumps([name, value]), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.parts", description=__doc__)
    parser.add_argument("part")
    parser.add_argument("--without", action="append", default=[], help="a contender that broke the device")
    parser.add_argument("--seconds", type=float, default=_limit["seconds"], help="after which it will be ended")
    args = parser.parse_args(argv)
    _limit["seconds"] = args.seconds
    name, *arguments = args.part.split()
    wanted = OURS if arguments[-1:] == ["ours"] else CONTENDERS
    arguments = [word for word in arguments if word != "ours"]
    if name not in PARTS:
        raise SystemExit(f"no such part; the parts are {', '.join(PARTS)}")
    pass_on_the_end()
    try:
        for found in PARTS[name]([one for one in wanted if one not in args.without], *arguments):
            say(*found)
    except Broken as broken:
        say(broken.contender, str(broken))
        say(BROKEN, broken.contender)
    return 0


if __name__ == "__main__":
    sys.exit(main())

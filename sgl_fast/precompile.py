"""python -m sgl_fast.precompile: the GPU kernels that a search needs, compiled where there is no GPU.

A run with the same settings, caches and versions then compiles none of them. No torch before parsing.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .backends import device_code, nvrtc
from .backends.precision import NEWER
from .backends.triton import interpreted
from .run.command import check_found, refuse, started
from .run.options import RUN_GROUP, Options
from .run.parser import Parser
from .run.search_args import OPTIONS, default_texts
from .run.search_settings import flat, settings_of
from .setting import SettingError

if TYPE_CHECKING:
    from .kernels.ahead import Launch

Settings = dict[str, Any]
PROG = "python -m sgl_fast.precompile"
BACKENDS = ("cuda", "triton")
EXAMPLES = f"""\
  {PROG} --arch sm_70,sm_90 --space pc_darts --data cifar10
  {PROG} --arch sm_90 --config runs/one
"""


def parser() -> Parser:
    own = ("download", "backend")
    table = Options(one for one in OPTIONS.values() if one.group != RUN_GROUP or one.name in own)
    text = "Compile the GPU kernels of a search where there is no GPU, into the caches that the search will find."
    p = Parser(PROG, text, table, default_texts(), EXAMPLES)
    add = p.heading.add_argument
    add("--arch", metavar="LIST", default="", help="compute capabilities: sm_70,sm_80 and so on [of the GPUs here]")
    add("--jobs", type=int, metavar="N", default=cores(), help="processes of Triton's compiler [one a core]")
    p.add_settings_file()
    return p


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all is compiled; 1 something does not compile or cannot be kept; 2 bad arguments or data."""
    args = parser().parse_args(argv)
    try:
        given = OPTIONS.given(args, flat)
        backends, architectures = backends_of(args.backend), architectures_of(args.arch)
        if args.jobs < 1:
            raise ValueError(f"--jobs: need at least 1; got {args.jobs}")
        settings = settings_of(given, "cuda")
        check_precision(settings["config"]["precision"], architectures)
        if args.print_config:
            print(OPTIONS.toml(flat(settings), f"for {PROG} --config FILE"))
            return 0
        check_found(given, settings["data"], settings["root"], settings["unlabeled"], args.download)
        launches = launches_of(settings, architectures, args.download) if "triton" in backends else []
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    complaints = cuda(architectures) if "cuda" in backends else []
    if launches:
        complaints += triton(launches, args.jobs)
    for line in complaints:
        print(f"{PROG}: {line}", file=sys.stderr)
    return int(bool(complaints))


def backends_of(name: str | None) -> tuple[str, ...]:
    """Those whose kernels are compiled: the one that is named, else both. ValueError where it cannot be."""
    if name not in (None, "auto", *BACKENDS):
        raise ValueError(f"--backend: need cuda or triton, whose kernels a GPU runs, or auto, both; got {name}")
    return (name,) if name in BACKENDS else BACKENDS


def architectures_of(text: str) -> list[int]:
    """sm_70,sm_90 -> 70, 90; nothing: of the GPUs here. ValueError for one that no compiler at hand knows, or none."""
    own = [] if nvrtc.why_not_nvrtc() else nvrtc.architectures()
    known = sorted({*device_code.ARCHITECTURES, *(one for one in own if one >= min(device_code.ARCHITECTURES))})
    names = {f"sm_{one}": one for one in known}
    words = text.split(",") if text else [f"sm_{one}" for one in present()]
    if not words:
        raise ValueError("--arch: need compute capabilities, as sm_90; torch finds no GPU whose own they could be")
    if wrong := [word for word in words if word not in names]:
        raise ValueError(f"--arch: need some of {', '.join(names)}; got {wrong[0]!r:.80}")
    return [names[word] for word in dict.fromkeys(words)]


def present() -> list[int]:
    """Compute capabilities of the GPUs of this machine."""
    import torch

    found = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
    return [10 * major + minor for major, minor in found]


def check_precision(precision: str, architectures: list[int]) -> None:
    """SettingError where a GPU of one of them does not have it."""
    least = NEWER.get(precision, (0, 0))
    if older := [one for one in architectures if divmod(one, 10) < least]:
        raise SettingError("precision", f"another than {precision} for sm_{older[0]}", precision)


def launches_of(settings: Settings, architectures: list[int], download: bool) -> list[tuple[Launch, int]]:
    """Every kernel of Triton's that a search with these settings launches, with the architecture that it is for.

    ValueError where Triton cannot compile here.
    """
    if interpreted():
        raise ValueError("--backend: TRITON_INTERPRET=1 is set, which keeps Triton from compiling")
    if find_spec("triton") is None:
        raise ValueError("--backend: triton is not installed: pip install triton, or --backend cuda")
    from .run.run_launches import launches_of_run
    from .search import open_data

    dataset = open_data(settings, download)
    return [(launch, arch) for arch in architectures for launch in launches_of_run(settings, dataset, arch)]


def cuda(architectures: list[int]) -> list[str]:
    """Fills the cache of the CUDA kernels; lines on what does not compile."""
    complaints = []
    for arch in architectures:
        started_at = time.monotonic()
        try:
            new, old = device_code.compiled_here(arch)
        except (OSError, RuntimeError) as error:
            complaints.append(f"cuda, sm_{arch}: {error}")
            continue
        seconds = f"{time.monotonic() - started_at:.0f} s"
        where = f"in {device_code.cache_folder()}, {new} of them new, {seconds}" if new + old else "in the package"
        print(f"cuda    sm_{arch}  {len(device_code.units())} files of kernels {where}")
    return complaints


def triton(launches: list[tuple[Launch, int]], jobs: int) -> list[str]:
    """Fills Triton's cache, in so many processes; lines on what does not compile."""
    from triton import knobs

    from .kernels.ahead import attempt

    folder, started_at = Path(knobs.cache.dir), time.monotonic()
    before, complaints = kept_in(folder), []
    # Processes that begin anew: a fork would have this one's threads as they happen to be.
    with ProcessPoolExecutor(min(jobs, len(launches)), get_context("spawn")) as pool:
        done = tqdm(pool.map(attempt, launches), "triton", len(launches), unit="kernel", disable=None)
        complaints += [said for said in done if said is not None]
    new, seconds = len(kept_in(folder) - before), f"{time.monotonic() - started_at:.0f} s"
    for arch in dict.fromkeys(arch for _, arch in launches):
        print(f"triton  sm_{arch}  {sum(one == arch for _, one in launches)} kernels in {folder}")
    print(f"triton  {new} of {len(launches)} kernels new, {seconds}")
    return complaints


def kept_in(folder: Path) -> set[Path]:
    """Machine code in Triton's cache."""
    return set(folder.glob("*/*.cubin"))


if __name__ == "__main__":
    sys.exit(started(main))

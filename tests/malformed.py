"""Random malformed calls of the raw operators: python tests/malformed.py SEED COUNT. Each raises an error, or returns.

A signal ends the process, which is what the test that runs this looks for.
"""

from __future__ import annotations

import faulthandler
import random
import resource
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sgl_fast.ops import augment, flat_update, pseudo_label, skip_dropout
from sgl_fast.ops.cell_numbers import masks_of, numbers
from sgl_fast.ops.cell_operators import BACKWARD, FORWARD
from sgl_fast.reference.cell import Cell, section_of

NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 8, 9, 100, 2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62)
MOST = 4 * 2**30  # bytes of memory that a call may ask for
LONGEST = 5.0  # seconds of an interpreted call: a sound call of a million masks would take hours


class TooLong(BaseException):
    """An interpreted call is left: nothing about it is wrong but its size."""


def leave(_signal: int, _frame: Any) -> None:
    raise TooLong


def cells() -> list[tuple[Any, list[Any]]]:
    """The operators of the fused cell and good arguments of theirs, for each backend that runs on a CPU."""
    calls = []
    for cell in (
        Cell(0, "normal", False, 6, 4, 4, 1, (("skip_connect", "sep_conv_3x3"), ("max_pool_3x3", "none")), 1, False),
        Cell(0, "reduce", True, 4, 4, 8, 1, (("max_pool_3x3", "dil_conv_3x3"), ("avg_pool_3x3", "none")), 2, False),
        Cell(0, "normal", False, 4, 4, 4, 1, (("max_pool_3x3", "skip_connect"),) * 2, 2, False, pool_norm=False),
    ):
        section, half, scale = section_of(cell), 1 + (cell.kind == "reduce"), 1 + cell.shrink0
        s0, s1 = torch.randn(2, 2, cell.c_prev_prev, 4 * scale, 4 * scale), torch.randn(2, 2, cell.c_prev, 4, 4)
        weights, ops, edges = torch.randn(2, section.num_weights), torch.rand(2, 2, 2), torch.rand(2, 2)
        masks = torch.rand(masks_of(cell), 2, 2, cell.channels // cell.partial, 4, 4) > 0.5 if half == 1 else None
        inputs, how = [numbers(cell), s0, s1, weights, ops, edges], [torch.tensor(0.7), torch.tensor(1.2)]
        grad = torch.randn(2, 2, cell.channels, 4 // half, 4 // half)
        for backend in ("compiled", "triton"):
            forward, backward = getattr(FORWARD, backend), getattr(BACKWARD, backend)
            args = [*inputs, None, None, masks, *how, "float32"]
            saved = forward(*args)
            running = torch.rand(2, 3, section.num_statistics) + 0.5
            flags = [True, False, True, True, True, "float32"]
            calls += [(forward, args), (forward, [*inputs, running, saved[4], None, *how, "float32"])]
            calls += [(backward, [*inputs, masks, *saved, grad, *how, *flags])]
    return calls


def others() -> list[tuple[Any, list[Any]]]:
    rows, logits = torch.randn(4, 37), torch.randn(3, 5, 7)
    images, draws = torch.zeros(3, 3, 6, 5, dtype=torch.uint8), torch.zeros(5, 6, dtype=torch.int64)
    good = [
        (flat_update._row_norms, [rows]),
        (flat_update._sgd, [rows, rows, rows, torch.tensor(0.1), 0.9, 3e-4, 5.0]),
        (flat_update._perturb, [rows, rows, 0.01]),
        (flat_update._central_difference, [rows, torch.rand(2)]),
        (pseudo_label._pseudo_labels, [logits]),
        (pseudo_label._cross_entropy, [logits, logits, 0.5]),
        (pseudo_label._pseudo_label_vjp, [logits, logits]),
        (augment._augment, [images, draws, torch.randn(3, 256), 1, 2]),
        (skip_dropout._dropout_masks, [torch.tensor([1, 2, 3]), 2, 0, [2, 3, 4, 5], torch.tensor(2**20).int()]),
    ]
    return [(getattr(op, backend), args) for op, args in good for backend in ("compiled", "triton")]


def malformed(arg: Any, draw: random.Random) -> Any:
    """Something else in the place of an argument."""
    if isinstance(arg, Tensor):
        return malformed_tensor(arg, draw)
    if isinstance(arg, list):
        ways = [[], arg[: draw.randrange(len(arg))], arg + [draw.choice(NUMBERS)], [draw.choice(NUMBERS) for _ in arg]]
        at = draw.randrange(len(arg))
        return draw.choice([*ways, *[[*arg[:at], draw.choice(NUMBERS), *arg[at + 1 :]]] * 6])
    if isinstance(arg, bool):
        return not arg
    if isinstance(arg, int):
        return draw.choice(NUMBERS)
    if isinstance(arg, float):
        return draw.choice([float("nan"), float("inf"), -1.0, 0.0, 1e300])
    if isinstance(arg, str):
        return draw.choice(["junk", "", "float16", "bfloat16", "tf32", "float64", "x" * 1000])
    return torch.zeros(draw.choice([(), (0,), (2, 3), (2, 2, 5)]))


def malformed_tensor(t: Tensor, draw: random.Random) -> Any:
    dtypes = torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64
    axis = draw.randrange(max(1, t.dim()))
    ways = [
        lambda: None,
        lambda: t.to(draw.choice(dtypes)),
        lambda: t.to("meta"),
        lambda: t[:0] if t.dim() else t.view(1)[:0],
        lambda: t.unsqueeze(0),
        lambda: t.flatten(),
        lambda: t.select(axis, 0) if t.dim() else t.view(1, 1),
        lambda: t.narrow(axis, 0, max(1, t.shape[axis] - 1)) if t.dim() else t,
        lambda: torch.cat([t, t], axis) if t.dim() else t,
        lambda: t.transpose(0, -1) if t.dim() else t,
        lambda: t.to_sparse() if t.dim() else t,
        lambda: (t.double() * draw.choice([1e30, float("nan"), -1.0, 2.0**40])).to(t.dtype),
        lambda: t.flatten()[:1].expand(*t.shape[:-1], 2**40),
    ]
    return draw.choice(ways)()


def main(seed: int, count: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")  # numpy's, of the interpreter
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, leave)
    draw, seen = random.Random(seed), Counter[str]()
    torch.manual_seed(seed)
    calls = cells() + others()
    slow = [1 if "triton" in str(operator) else 20 for operator, _ in calls]  # in an interpreter
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MOST
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    for number in range(count):
        operator, args = draw.choices(calls, slow)[0]
        wrong = list(args)
        for _ in range(draw.choice([1, 1, 2])):
            position = draw.randrange(len(wrong))
            wrong[position] = malformed(args[position], draw)
        try:
            signal.setitimer(signal.ITIMER_REAL, LONGEST)
            operator(*wrong)
            seen["returned"] += 1
        except TooLong:
            seen["left"] += 1
        except (ValueError, RuntimeError) as error:
            seen[type(error).__name__] += 1
        except BaseException as error:
            raise AssertionError(f"call {number} of seed {seed}, {operator}: {error!r}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(dict(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

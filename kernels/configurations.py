"""Sizes of the tiles of a cell's kernels, by architecture: tiles.json, and over it the file that SGL_FAST_TILES names.

A file has, of an architecture (70 for sm_70) or "default", kernels and their [pixels, channels, each, stages]. A device
takes the newest architecture that is not newer than it is; Triton's interpreter takes the default, as kernels do that
no such architecture names. `python -m bench.triton.tiles` chooses tiles.json by what the compiler says,
`python -m bench.triton.tune` measures on a GPU and writes a file to name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .launch import block_size

VARIABLE = "SGL_FAST_TILES"
TABLE = Path(__file__).parent / "tiles.json"
DEFAULT = "default"
INTERPRETED = 0  # architecture
LEAST_DOT = 16  # rows and columns of tl.dot
DOTS = ("convolve_dot", "pointwise_dgrad_dot", "pointwise_wgrad_dot")  # those whose 1x1 convolutions go through tl.dot
KERNELS = (
    *("convolve", "combine", "dy_sums", "skip_sums"),
    *("pointwise_dgrad", "pointwise_wgrad", "depthwise_wgrad", "depthwise_dgrad", "pool_skip_dgrad", *DOTS),
)
NEED = "need pixels, channels, elements a thread, powers of two up to 1024, and 1 to 8 stages"


class Block(NamedTuple):
    """What one program has at a time."""

    channels: int
    pixels: int
    warps: int
    stages: int

    @property
    def options(self) -> dict[str, int]:
        """Of a launch."""
        return {"num_warps": self.warps, "num_stages": self.stages}


class Tiles(NamedTuple):
    """Of a kernel: pixels and channels of a tile, at most; elements of it a thread; stages of its loop in flight."""

    pixels: int
    channels: int
    each: int
    stages: int = 3

    def block(self, channels: int, pixels: int, rows: int = 0, least: int = 1) -> Block:
        """For so many channels and pixels; rows: of the tile where they are more than its channels."""
        c, p = max(block_size(channels, self.channels), least), max(block_size(pixels, self.pixels), least)
        warps = max(c, rows) * p // (self.each * 32)
        return Block(c, p, max(1, min(8, warps)), self.stages)


Tables = dict[str, dict[str, Tiles]]
_assumed: tuple[int, dict[str, Tiles]] | None = None


TilesInForce = tuple[int, tuple[tuple[str, Tiles], ...], str | None]


def tiles_in_force(device: torch.device) -> TilesInForce:
    """Of all kernels: equal where tiles_of answers alike."""
    assumed = _assumed[1] if _assumed is not None else {}
    return architecture(device), tuple(sorted(assumed.items())), os.environ.get(VARIABLE)


def tiles_of(kernel: str, device: torch.device) -> Tiles:
    if _assumed is not None and kernel in _assumed[1]:
        return _assumed[1][kernel]
    return _found(kernel, architecture(device), os.environ.get(VARIABLE))


def architecture(device: torch.device) -> int:
    """70 for sm_70; INTERPRETED."""
    if _assumed is not None:
        return _assumed[0]
    return _capability(device) if device.type == "cuda" else INTERPRETED


@cache
def _capability(device: torch.device) -> int:
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


@contextmanager
def assumed(arch: int, tiles: dict[str, Tiles] | None = None) -> Iterator[None]:
    """Launches as on that architecture, with these tiles in place of the tables'."""
    global _assumed
    before, _assumed = _assumed, (arch, tiles or {})
    try:
        yield
    finally:
        _assumed = before


@cache
def _found(kernel: str, arch: int, path: str | None) -> Tiles:
    tables = read_tables(path)
    for older in sorted((int(name) for name in tables if name != DEFAULT), reverse=True):
        if older <= arch and kernel in tables[str(older)]:
            return tables[str(older)][kernel]
    return tables[DEFAULT][kernel]


def read_tables(path: str | None) -> Tables:
    """The package's, and over it the file's. ValueError, one line, where a file is not such a table."""
    tables = _read(TABLE, TABLE.name)
    for arch, kernels in (_read(Path(path), VARIABLE) if path else {}).items():
        tables[arch] = {**tables.get(arch, {}), **kernels}
    return tables


def check() -> None:
    """ValueError where SGL_FAST_TILES names a file that cannot be used."""
    read_tables(os.environ.get(VARIABLE))


def _read(path: Path, name: str) -> Tables:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ValueError(f"{name}: cannot read {path}: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(kernels, dict) for kernels in content.values()):
        raise ValueError(f"{name}: need architectures, each with kernels and their tiles, in {path}")
    for arch in content:
        if arch != DEFAULT and not arch.isdecimal():
            raise ValueError(f"{name}: need architectures such as 80, or {DEFAULT}, in {path}; got {arch!r}")
    return {
        arch: {kernel: _tiles(kernel, row, f"{name}: {path}, {arch}") for kernel, row in kernels.items()}
        for arch, kernels in content.items()
    }


def _tiles(kernel: str, row: Any, where: str) -> Tiles:
    if kernel not in KERNELS:
        raise ValueError(f"{where}: no kernel {kernel!r}; the kernels are {', '.join(KERNELS)}")
    if not isinstance(row, list) or len(row) != 4 or not all(type(number) is int for number in row):
        raise ValueError(f"{where}: {kernel}: {NEED}; got {row!r}")
    tiles = Tiles(*row)
    least = LEAST_DOT if kernel in DOTS else 1
    sizes = (tiles.pixels, least), (tiles.channels, least), (tiles.each, 1)
    if not all(low <= n <= 1024 and n & (n - 1) == 0 for n, low in sizes) or not 1 <= tiles.stages <= 8:
        raise ValueError(f"{where}: {kernel}: {NEED}; got {row!r}")
    return tiles

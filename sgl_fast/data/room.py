"""What fits into memory."""

from __future__ import annotations

import os
from pathlib import Path

SHARE = 0.5  # of the free memory, that images may fill


def fits(count: int, size: tuple[int, int]) -> bool:
    """Whether so many images (H, W) of three bytes a pixel may be kept in memory."""
    return count * 3 * size[0] * size[1] <= SHARE * free_memory()


def free_memory() -> float:
    """Bytes: the least of what the machine has available and what the limit of this job's control group leaves."""
    return min(_available(), _left_to_group())


def _available() -> float:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return 1024 * float(line.split()[1])
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _left_to_group() -> float:
    """Of version 2, as schedulers set it; caches of files count as free."""
    own = next((line[3:] for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")), "/")
    folder = Path("/sys/fs/cgroup") / own.lstrip("/")
    limit, used = (next(iter(_lines(folder / name)), "") for name in ("memory.max", "memory.current"))
    if not (limit.isdigit() and used.isdigit()):
        return float("inf")
    cached = (line.split() for line in _lines(folder / "memory.stat"))
    return int(limit) - int(used) + sum(float(words[1]) for words in cached if words[0] == "inactive_file")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

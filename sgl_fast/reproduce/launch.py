"""Runs jobs, each when the one that it needs is done: by processes here, or by Slurm."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, Protocol

from .jobs import Job, last_line, run

LAUNCHERS = ("local", "slurm")
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class Future(Protocol):
    def done(self) -> bool: ...

    def result(self) -> Any: ...


class Launcher(Protocol):
    def submit(self, fn: Callable[..., Any], *args: Any) -> Future: ...


class Stop(Exception):  # noqa: N818
    """A signal came."""


def run_all(
    jobs: Sequence[Job],
    launcher: Launcher,
    stopped: Callable[[], bool],
    ended: Callable[[Job, str], None],
    pause: float = 0.05,
    room: int | None = None,
) -> list[Job]:
    """Runs those that are not done, and returns those that failed, or need one that did.

    stopped   asked all the time; Stop once it says so
    ended     is told of each job that ends, and how
    room      at most so many are with the launcher, those that come first; None: all that need no other job
    """
    waiting = [job for job in jobs if not job.done]
    under_way: dict[Path, tuple[Job, Future]] = {}
    failed: dict[Path, Job] = {}
    while waiting or under_way:
        for job in list(waiting):
            if room is not None and len(under_way) >= room:
                break
            if job.needs in failed:
                failed[job.folder] = job
                waiting.remove(job)
                ended(job, "left out: what it needs failed")
            elif job.needs is None or (job.needs not in under_way and not any(w.folder == job.needs for w in waiting)):
                waiting.remove(job)
                under_way[job.folder] = job, launcher.submit(run, job)
        for folder, (job, future) in list(under_way.items()):
            if future.done():
                del under_way[folder]
                if (said := outcome(job, future)).startswith("failed"):
                    failed[folder] = job
                ended(job, said)
        if stopped():
            raise Stop
        time.sleep(pause)
    return list(failed.values())


def outcome(job: Job, future: Future) -> str:
    """Words on how it ended."""
    try:
        code, seconds = future.result()
    except BrokenExecutor as error:
        return f"failed: its process died ({error})"
    except Exception as error:  # of the job, in its process
        return f"failed: {type(error).__name__}: {error}"
    if code in STOPPED:
        raise Stop
    return f"done in {seconds:.0f} s" if code == 0 else f"failed with exit code {code}: {last_line(job.folder)}"


class Local:
    """Processes of this machine.

    devices   numbers of GPUs, one for each process, in turns; none: they see what this one does
    """

    def __init__(self, workers: int, devices: Sequence[str] = ()) -> None:
        self.workers, self.devices = workers, devices
        self._pool = self._new()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future:
        try:
            return self._pool.submit(fn, *args)
        except BrokenExecutor:  # a job took its process with it
            self._pool = self._new()
            return self._pool.submit(fn, *args)

    def stop(self) -> None:
        """Jobs save and end."""
        for process in multiprocessing.active_children():
            process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        places: Queue[str] = context.Queue()
        for number in range(self.workers):
            places.put(self.devices[number % len(self.devices)] if self.devices else "")
        return ProcessPoolExecutor(self.workers, context, _begin, (places,))


def slurm(folder: Path, parameters: dict[str, str]) -> Launcher:
    """Jobs of Slurm, by submitit.

    parameters   of its AutoExecutor, such as slurm_partition, timeout_min, gpus_per_node
    """
    try:
        import submitit
    except ImportError:
        raise ValueError("--launcher slurm: needs submitit: pip install sgl-fast[slurm]") from None
    cluster = parameters.pop("cluster", "slurm")
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    numbers = {name: int(value) if value.isdecimal() else value for name, value in parameters.items()}
    executor.update_parameters(**numbers)
    found: Launcher = executor
    return found


def _begin(places: Queue[str]) -> None:
    """Of each process of `local`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes on what comes
    if device := places.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = device

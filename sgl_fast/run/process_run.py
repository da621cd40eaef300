"""What a command does in each of the processes of torchrun: who has the run's folder, how the end of one is told."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Protocol

from ..sgl import processes, ranks
from .command import say_last
from .run_folder import Follower, RunFolder


class Resumable(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def run_of(args: argparse.Namespace) -> RunFolder:
    """The run's folder, of the first process alone; the config of a run to resume in all."""
    run: RunFolder = Follower(args.out)
    if ranks.is_main():
        run = RunFolder.open(args.out) if args.resume else RunFolder.create(args.out)
    if args.resume:
        run.config = processes.from_main(run.config)
    return run


def share_state(resumed: Resumable) -> None:
    """What the first process read from its checkpoint, in all."""
    if ranks.count() == 1:
        return
    state = processes.from_main(resumed.state_dict())
    if not ranks.is_main():
        resumed.load_state_dict(state)


def told(prog: str, run: RunFolder, fit: Callable[[], int]) -> int:
    """The exit code of fit; what ends it early is said in a line."""
    try:
        return fit()
    except (FloatingPointError, OSError) as error:
        return say_last(prog, error, run)
    except RuntimeError as error:
        if ranks.count() == 1 or not processes.is_silence(error):
            raise
        return say_last(prog, RuntimeError(f"another process does not answer ({str(error).splitlines()[0]})"), run)
